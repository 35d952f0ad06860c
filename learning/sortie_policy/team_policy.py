"""What training and evaluation ask of a policy's network, LGTC or another; a network of one's own derives from it.

A decision is split where recurrence begins: `perceive` does not read the state, so that training runs it on all
decisions of a rollout at once, and only `remember` goes step by step.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sortie_core.config import UserError
from sortie_core.own_classes import import_class, told_in_a_line
from sortie_policy.kept_intents import UNKNOWN, KeptIntents

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sortie_core.config import Config
    from sortie_core.observation import Observation
    from sortie_policy.utterance import Utterance

NETWORKS = {
    "lgtc": "sortie_policy.actor_critic:LGTCPolicy",
    "mlp": "sortie_policy.baseline_networks:MLPPolicy",
    "attention": "sortie_policy.baseline_networks:AttentionPolicy",
}
"""Values of `policy.network`, beside ``package.module:Class``."""


@dataclass
class Recalled:
    """What agents had heard of each other when they decided; training replays it as part of what they observed.

    Attributes:
        pair: [B, N, M, Fp] pair features after the last exchange.
        attention: [B, N, M + 1] the Xi that was told in it.
        said: what was heard of the decision before, where packets are late.
    """

    pair: Tensor
    attention: Tensor
    said: Utterance | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Recalled:
        """With `function` applied to every tensor."""
        return Recalled(function(self.pair), function(self.attention), self.said and self.said.map(function))


@dataclass
class Memory:
    """What agents carry from one decision to the next.

    Attributes:
        state: [B, N, F] of the recurrent cell.
        kept: the others' intentions.
        said: what all said in the last decision, where packets are late, and else None.
    """

    state: Tensor
    kept: KeptIntents
    said: Utterance | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Memory:
        """With `function` applied to every tensor."""
        return Memory(function(self.state), self.kept.map(function), self.said and self.said.map(function))

    def cleared(self, where: Tensor) -> Memory:
        """Without memory in the environments of the mask [B] bool."""
        kept = self.kept.map(lambda values: values)
        kept.age = torch.where(where[:, None, None], torch.full_like(kept.age, UNKNOWN), kept.age)
        kept.intent = torch.where(where[:, None, None, None], 0.0, kept.intent)
        return Memory(torch.where(where[:, None, None], 0.0, self.state), kept, self.said and self.said.unheard(where))


@dataclass
class Deliberation:
    """The outcome of one decision of a batch of teams.

    Attributes:
        state: [B, N, F] next state of the cells.
        attention: [B, N, M + 1] the final Xi.
        log_choice: [B, N, M + 1] log probability of choosing each consumer or "wait".
        correction: [B, N, D] mean of the velocity correction before its tanh.
        value: [B, N] value of each agent; [B, N, R*] with one objective per resource kind.
        support: [B, N, N] row-stochastic, who shares reward and value with whom.
    """

    state: Tensor
    attention: Tensor
    log_choice: Tensor
    correction: Tensor
    value: Tensor
    support: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Deliberation:
        """With `function` applied to every tensor."""
        return Deliberation(**{name: function(value) for name, value in vars(self).items()})


class TeamPolicy(nn.Module):
    """A network shared by all agents; its constructor takes the configuration.

    Attributes:
        hidden: F, features of the state; 0 without recurrence.
        log_std: [D] of the velocity correction's distribution.
    """

    hidden: int
    log_std: nn.Parameter

    def perceive(
        self,
        seen: Observation,
        adjacency: Tensor,
        kept: KeptIntents | None,
        recalled: Recalled | None = None,
        said: Utterance | None = None,
    ) -> tuple[Any, Recalled, KeptIntents | None]:
        """All of a decision that does not depend on the state.

        Args:
            seen: observations of B teams.
            adjacency: [B, N, N] bool, who hears whom; or [B, rounds, N, N] by round, from `rounds.draw_rounds`.
            kept: the tables of kept intentions; None where `recalled` says what was heard.
            recalled: recorded when the decision was made.
            said: in the last decision, where packets are late; given only to networks that define `silence`.

        Returns:
            What `remember` and `outcome` need: an object of tensors with a method `map`; what was heard; and the
            new tables (None without `kept`).
        """
        raise NotImplementedError

    def remember(self, perception: Any, state: Tensor) -> Tensor:
        """The state [B, N, F] advanced by one decision."""
        return state

    def outcome(self, perception: Any, new_state: Tensor) -> Deliberation:
        """Action and value at an advanced state [B, N, F]."""
        raise NotImplementedError

    def forward(self, seen: Observation, adjacency: Tensor, memory: Memory) -> tuple[Deliberation, Memory, Recalled]:
        """One decision of every agent."""
        late: dict[str, Any] = {} if memory.said is None else {"said": memory.said}
        perception, recalled, kept = self.perceive(seen, adjacency, memory.kept, **late)
        out = self.outcome(perception, self.remember(perception, memory.state))
        said = memory.said and self.utter(perception, memory.state)
        return out, Memory(out.state, kept or memory.kept, said), recalled

    def initial_memory(self, seen: Observation, late: bool = False) -> Memory:
        """Of agents that begin: no state, nobody known.

        Args:
            seen: what they see.
            late: packets are heard one decision late, as for comm.latency_steps of 1 to policy.decision_steps.
        """
        batch, n_agents, _ = seen.position.shape
        state = seen.position.new_zeros(batch, n_agents, self.hidden)
        kept = KeptIntents.nothing(seen.stock, seen.position, seen.need.shape[-2])
        return Memory(state, kept, self.silence(kept) if late else None)

    def silence(self, kept: KeptIntents) -> Utterance | None:
        """What was said before the first decision, where packets are late; None for agents that never say anything.

        Raises:
            UserError: the network does not model late packets.
        """
        raise UserError(f"comm.latency_steps: {type(self).__name__} does not model late packets; set it to 0")

    def utter(self, perception: Any, state: Tensor) -> Utterance:
        """What agents with state [B, N, F] say in the decision of a perception, for those who hear it in the next."""
        raise NotImplementedError

    def set_temperature(self, temperature: float) -> None:
        """Of the attention, as the schedule has it; without effect where the network has none."""

    def contraction_rate(self) -> float:
        """The contraction rate c of the recurrent cell, 1/s; NaN where the network has no such thing."""
        return float("nan")


def make_policy(config: Config) -> TeamPolicy:
    """The network that `policy.network` names, with fresh weights.

    Raises:
        UserError: it cannot be imported or made, or is no `TeamPolicy`.
    """
    name = config.policy.network
    path = NETWORKS.get(name, name)
    if ":" not in path:
        raise UserError(f"policy.network: {name!r} is none of {', '.join(NETWORKS)}, nor package.module:Class")
    network = import_class(path, "policy.network")
    if not (isinstance(network, type) and issubclass(network, TeamPolicy)):
        raise UserError(f"policy.network: {name!r} is no sortie_policy.team_policy.TeamPolicy; derive it from that")
    with own_network(name, "cannot be made of a configuration"):
        return network(config)


def own_network(name: str, what: str) -> AbstractContextManager[None]:
    """Where a network of the user's own runs: what is raised within becomes a `UserError` that names it and `what`.

    Args:
        name: `policy.network`; errors in a network of `NETWORKS` stay as they are.
        what: that went wrong.
    """
    return nullcontext() if name in NETWORKS else told_in_a_line(f"policy.network: {name} {what}")
