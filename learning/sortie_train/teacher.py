"""A teacher that knows everything judges the learner's own states (DAgger, arXiv 1011.0686, and AggreVaTe, 1406.5979).

It says what it would choose and, if it plans, what every other choice would cost. An agent that cannot know all that
the teacher knows then learns the choice that costs the least on average over what it cannot see, which the choice
most often right need not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sortie_core.state import stored_batch_last
from sortie_expert.auction import auction
from sortie_expert.local_search import judge_choices
from sortie_train.losses import weighted_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config
    from sortie_core.state import WorldState
    from sortie_train.rollout import Rollout

_LEAST_LOG = -50.0
"""Where the teacher sends an agent by a margin that rounds to nothing for the policy, nothing can be learned."""
_LARGEST_REGRET = 10.0
_RIVALS = 1
"""Of the local search; more take twice as long and plan hardly better."""
_CROSS_ENTROPY = 0.2
"""Weight of the plain imitation beside regret: it says what to do where all choices cost alike."""


@dataclass
class Lesson:
    """What the teacher says of the decisions of the first b environments, the ones it judges.

    Attributes:
        choice: [T, b, N] int, the teacher's.
        regret: [T, b, N, M + 1] what each choice would cost against the best, stock s; 0 from a teacher that does not
            say.
    """

    choice: Tensor
    regret: Tensor


def teach(states: WorldState, config: Config) -> Lesson:
    """Judge states [T, b, ...], all at once, which is many times as fast as one decision after the other."""
    shape, device = states.time_s.shape, states.time_s.device
    judged = states.map(lambda values: stored_batch_last(values.flatten(0, 1).cpu().numpy()))
    if config.train.teacher == "auction":
        choice = auction(judged, config)
        value = np.zeros((*choice.shape, judged.unmet.shape[1] + 1), np.float32)
    else:
        choice, value = judge_choices(judged, config, _RIVALS)
    regret = np.clip(value.max(-1, keepdims=True) - value, 0.0, _LARGEST_REGRET)
    return Lesson(*(torch.as_tensor(each, device=device).unflatten(0, shape) for each in (choice, regret)))


def agreement(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """How near the choices of rollouts are to the teacher's.

    Args:
        rollouts: of one update; those of all scenarios are taught, or none is.

    Returns:
        ``expert/agreement``, the share of the choices that are the teacher's too, and ``expert/regret``, what the
        choices cost against its best on average, stock s; the means over rollouts, and nothing where none is taught.
    """
    told = [_agreement(each, each.lesson) for each in rollouts if each.lesson is not None]
    return {name: sum(each[name] for each in told) / len(told) for name in told[0]} if told else {}


def _agreement(rollout: Rollout, lesson: Lesson) -> dict[str, float]:
    judged = lesson.choice.shape[1]
    choice, weight = rollout.choice[:, :judged], rollout.weight[:, :judged]
    regret = lesson.regret.gather(-1, choice[..., None]).squeeze(-1)
    return {
        "expert/agreement": weighted_mean((choice == lesson.choice).float(), weight).item(),
        "expert/regret": weighted_mean(regret, weight).item(),
    }


def imitation_loss(log_choice: Tensor, lesson: Lesson, weight: Tensor) -> Tensor:
    """Expected regret of the policy's choices, and the cross entropy to the teacher's.

    Args:
        log_choice: [T, b, N, M + 1] of the policy.
        lesson: of the same decisions, [T, b, ...].
        weight: [T, b, N] 1 for agents that count.
    """
    chosen = log_choice.gather(-1, lesson.choice[..., None]).squeeze(-1).clamp(min=_LEAST_LOG)
    expected = (log_choice.exp() * lesson.regret).sum(-1)
    return weighted_mean(expected - _CROSS_ENTROPY * chosen, weight)
