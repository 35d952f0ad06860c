"""What can lead a team in an evaluation: the trained policy, and the references it is held against.

All choose consumers for `sortie_core.action.team_command`, at the same times, so that only the agreement differs.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from sortie_core.comm_graph import adjacency
from sortie_core.config import UserError
from sortie_core.observation import observe
from sortie_expert.auction import auction
from sortie_expert.expert_policy import ExpertPolicy
from sortie_expert.greedy import nearest_need, value_greedy
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.checkpoint import check_compatible, load_metadata, load_weights
from sortie_policy.rounds import draw_rounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState

Choice = tuple[np.ndarray, np.ndarray | None]
_RULES = {"greedy": nearest_need, "value_greedy": value_greedy, "auction": auction}


class Team(Protocol):
    """Leads the teams of a batch of missions from their start to their end.

    Attributes:
        config: of the missions, with what a policy's training has fixed.
    """

    config: Config

    def choose(self, state: WorldState) -> Choice:
        """Chosen consumers [B, N] int (M = "wait") and velocity corrections [B, N, D] in [-1, 1], or None."""
        ...


class PolicyTeam:
    """The policy of `policy.checkpoint`, all agents in one batched pass.

    Args:
        config: a whole configuration.

    Raises:
        UserError: the checkpoint is missing, broken, or of another configuration.
    """

    def __init__(self, config: Config) -> None:
        path = config.policy.checkpoint
        metadata = load_metadata(path)
        self.config = check_compatible(metadata, config, path)
        self.policy = LGTCPolicy(self.config).eval()
        weights = {name: torch.as_tensor(value) for name, value in load_weights(path).items()}
        try:
            self.policy.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"checkpoint {path} does not fit its own configuration ({error}); train again") from None
        self._state: torch.Tensor | None = None
        self._random = torch.Generator().manual_seed(config.seed)

    @torch.no_grad()
    def choose(self, state: WorldState) -> Choice:
        """See `Team`."""
        state = state.map(torch.as_tensor)
        if self._state is None:
            self._state = self.policy.initial_state(*state.position.shape[:2])
        linked, comm = adjacency(state.position, state.alive, self.config.comm.radius_m), self.config.comm
        if comm.loss:
            linked = draw_rounds(linked, self.config.policy.hops, comm.loss, self._random)
        out = self.policy(observe(state, self.config), linked, self._state)
        self._state = out.state
        if self.config.policy.deterministic:
            choice = out.log_choice.argmax(-1)
        else:
            flat = out.log_choice.exp().flatten(0, 1)
            choice = torch.multinomial(flat, 1, generator=self._random).view(out.log_choice.shape[:2])
        return choice.numpy(), torch.tanh(out.correction).numpy()


class RuleTeam:
    """A rule without memory that sees the true unmet demand.

    Args:
        config: a whole configuration.
        rule: chooses [B, N] consumers for a state.
    """

    def __init__(self, config: Config, rule: Callable[[WorldState, Config], np.ndarray]) -> None:
        self.config, self.rule = config, rule

    def choose(self, state: WorldState) -> Choice:
        """See `Team`."""
        return self.rule(state, self.config), None


class ExpertTeam:
    """The centralised assignment, solved again at every event.

    Args:
        config: a whole configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.expert = config, ExpertPolicy(config)

    def choose(self, state: WorldState) -> Choice:
        """See `Team`."""
        return self.expert.choose(state), None


def refuse_slow_radio(config: Config) -> None:
    """Refuse what the batched pass does not model, instead of leaving it out in silence.

    Raises:
        UserError: latency or limited bandwidth.
    """
    limits = {
        "comm.latency_steps": (config.comm.latency_steps, 0),
        "comm.bandwidth_bytes_per_s": (config.comm.bandwidth_bytes_per_s, inf),
    }
    for key, (asked, modelled) in limits.items():
        if asked != modelled:
            raise UserError(f"{key}={asked} is flown by `sortie sim` alone; set {key}={modelled} here")


def make_team(method: str, config: Config) -> Team:
    """The team that `evaluate.methods` names.

    Raises:
        UserError: the radio is one that only the ROS graph has, or as for `PolicyTeam`.
    """
    refuse_slow_radio(config)
    match method:
        case "policy":
            return PolicyTeam(config)
        case "expert":
            return ExpertTeam(config)
        case _:
            return RuleTeam(config, _RULES[method])
