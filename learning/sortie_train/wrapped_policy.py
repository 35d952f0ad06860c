"""Policies that act or learn a little differently from the policy inside, whose weights they share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sortie_policy.team_policy import Deliberation, Memory, Recalled, TeamPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.observation import Observation
    from sortie_policy.kept_intents import KeptIntents
    from sortie_policy.utterance import Utterance

_HARDLY = -20.0
"""Log standard deviation of a correction that is not varied."""


class WrappedPolicy(TeamPolicy):
    """Like the policy inside; what differs is overridden.

    Args:
        policy: the policy inside.
    """

    def __init__(self, policy: TeamPolicy) -> None:
        super().__init__()
        self.policy, self.hidden, self.log_std = policy, policy.hidden, policy.log_std

    def perceive(self, seen: Observation, *given: Any, **late: Any) -> tuple[Any, Recalled, KeptIntents | None]:
        """See `TeamPolicy`."""
        return self.policy.perceive(seen, *given, **late)

    def remember(self, perception: Any, state: Tensor) -> Tensor:
        """See `TeamPolicy`."""
        return self.policy.remember(perception, state)

    def outcome(self, perception: Any, new_state: Tensor) -> Deliberation:
        """See `TeamPolicy`."""
        return self.policy.outcome(perception, new_state)

    def utter(self, perception: Any, state: Tensor) -> Utterance:
        """See `TeamPolicy`."""
        return self.policy.utter(perception, state)

    def initial_memory(self, seen: Observation, late: bool = False) -> Memory:
        """See `TeamPolicy`."""
        return self.policy.initial_memory(seen, late)


class EpsilonGreedy(WrappedPolicy):
    """Chooses the best, but with a probability epsilon any possible consumer or "wait", and varies no correction.

    Args:
        policy: the policy inside.
        epsilon: in [0, 1].
    """

    def __init__(self, policy: TeamPolicy, epsilon: float) -> None:
        super().__init__(policy)
        self.epsilon = epsilon
        self.log_std = nn.Parameter(torch.full_like(policy.log_std, _HARDLY), requires_grad=False)

    def outcome(self, perception: Any, new_state: Tensor) -> Deliberation:
        """See `TeamPolicy`."""
        out = self.policy.outcome(perception, new_state)
        possible = (out.log_choice.exp() > 0).float()
        best = nn.functional.one_hot(out.log_choice.argmax(-1), out.log_choice.shape[-1])
        chance = (1 - self.epsilon) * best + self.epsilon * possible / possible.sum(-1, keepdim=True)
        return replace(out, log_choice=chance.log())


@dataclass
class _Judged:
    """A perception with its value [B, N] or [B, N, R*] in the eyes of a critic."""

    perception: Any
    value: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> _Judged:
        return _Judged(self.perception.map(function), function(self.value))


class CentrallyJudged(WrappedPolicy):
    """Acts by itself, but is judged by a critic that sees the whole team.

    Args:
        policy: the policy inside, whose own value does not count.
        critic: gives the agents' values, [B, N] or [B, N, R*], for an observation.
    """

    def __init__(self, policy: TeamPolicy, critic: nn.Module) -> None:
        super().__init__(policy)
        self.critic = critic

    def perceive(self, seen: Observation, *given: Any, **late: Any) -> tuple[_Judged, Recalled, KeptIntents | None]:
        """See `TeamPolicy`."""
        perception, recalled, kept = super().perceive(seen, *given, **late)
        return _Judged(perception, self.critic(seen)), recalled, kept

    def utter(self, perception: _Judged, state: Tensor) -> Utterance:
        """See `TeamPolicy`."""
        return self.policy.utter(perception.perception, state)

    def remember(self, perception: _Judged, state: Tensor) -> Tensor:
        """See `TeamPolicy`."""
        return self.policy.remember(perception.perception, state)

    def outcome(self, perception: _Judged, new_state: Tensor) -> Deliberation:
        """See `TeamPolicy`."""
        return replace(self.policy.outcome(perception.perception, new_state), value=perception.value)
