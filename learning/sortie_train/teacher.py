"""A teacher that knows everything judges the learner's own states (DAgger, arXiv 1011.0686, and AggreVaTe, 1406.5979).

It says what it would choose and, if it plans, what every other choice would cost. An agent that cannot know all that
the teacher knows then learns the choice that costs the least on average over what it cannot see, which the choice
most often right need not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sortie_expert.auction import auction
from sortie_train.losses import weighted_mean

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState

_LEAST_LOG = -50.0
"""Where the teacher sends an agent by a margin that rounds to nothing for the policy, nothing can be learned."""
_LARGEST_REGRET = 10.0
_CROSS_ENTROPY = 0.2
"""Weight of the plain imitation beside regret: it says what to do where all choices cost alike."""


@dataclass
class Lesson:
    """What the teacher says of a decision of the first b environments, the ones it judges.

    Attributes:
        choice: [b, N] int, the teacher's.
        regret: [b, N, M + 1] what each choice would cost against the best, in units of stock times s; 0 from a teacher
            that does not say.
    """

    choice: Tensor
    regret: Tensor


def teach(state: WorldState, config: Config) -> Lesson:
    """Judge the states of the first train.taught_share of the environments."""
    count = max(1, round(config.train.taught_share * len(state.time_s)))
    judged = state.map(lambda values: values[:count])
    if config.train.teacher == "auction":
        choice = auction(judged, config)
        regret = torch.zeros(*choice.shape, state.unmet.shape[1] + 1, device=choice.device)
        return Lesson(choice, regret)
    from sortie_expert.local_search import judge_choices

    choice, value = judge_choices(judged, config)
    regret = value.max(-1, keepdim=True).values - value
    return Lesson(choice, regret.clamp(0.0, _LARGEST_REGRET))


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
