"""What can lead a team in an evaluation: a trained policy, the references it is held against, or a class of one's own.

All choose consumers for `sortie_core.action.team_command`, at the same times, so that only the agreement differs.
"""

from __future__ import annotations

import difflib
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sortie_core.config import UserError
from sortie_core.own_classes import import_class, told_in_a_line
from sortie_core.packets import deliberation_rounds
from sortie_expert.auction import auction
from sortie_expert.cbba import CBBA
from sortie_expert.connected import among_connected
from sortie_expert.expert_policy import ExpertPolicy
from sortie_expert.greedy import nearest_need, value_greedy
from sortie_expert.local_search import local_search
from sortie_expert.time_aware_expert import TimeAwareExpert
from sortie_train.policy_team import PolicyTeam

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState


class Team(Protocol):
    """Leads the teams of a batch of missions from their start to their end.

    Attributes:
        config: of the missions, with what a policy's training has fixed.
        explores: agents that wait go and look for demands.
    """

    config: Config
    explores: bool

    @property
    def bytes_sent(self) -> np.ndarray:
        """[B] by all agents of a team so far in order to choose, without the beacons that every team sends."""
        ...

    def choose(self, state: WorldState) -> tuple[np.ndarray, np.ndarray | None]:
        """Chosen consumers [B, N] int (M = "wait") and velocity corrections [B, N, D] in [-1, 1], or None."""
        ...


class Reference(Protocol):
    """A method without training: a class whose constructor takes the configuration.

    One instance leads one batch of missions from the start to the end. It may have an attribute ``bytes_sent`` [B],
    what all agents of a team have sent so far; without it nothing was.
    """

    def choose(self, state: WorldState) -> np.ndarray:
        """The chosen consumers [B, N] int, M for an agent that is to wait."""
        ...


class Rule:
    """A rule without memory that sees the true unmet demand and sends nothing.

    Args:
        rule: chooses [B, N] consumers for a state.
        config: a whole configuration.
    """

    def __init__(self, rule: Callable[[WorldState, Config], np.ndarray], config: Config) -> None:
        self._rule, self._config = rule, config

    def choose(self, state: WorldState) -> np.ndarray:
        """See `Reference`."""
        return self._rule(state, self._config)


def _cbba(config: Config) -> CBBA:
    """With as many rounds a decision as the policy's deliberation takes."""
    return CBBA(config, rounds=deliberation_rounds(config.policy.hops, config.policy.exchanges))


REFERENCES: dict[str, Callable[[Config], Reference]] = {
    "greedy": partial(Rule, nearest_need),
    "value_greedy": partial(Rule, value_greedy),
    "auction_2": partial(CBBA, rounds=2, keeps=False),
    "auction_converged": partial(CBBA, rounds=None, keeps=False),
    "cbba": _cbba,
    "local_search_connected": partial(Rule, among_connected(local_search)),
    "auction": partial(Rule, auction),
    "local_search": partial(Rule, local_search),
    "expert": TimeAwareExpert,
    "expert_static": ExpertPolicy,
}
"""The methods that need no training, by the names that `evaluation.methods` takes."""
_ALL_KNOWING = ("auction", "local_search", "expert", "expert_static")
"""Those that stand for a centre; the others are told no more than every drone knows where demands are broadcast."""


class ReferenceTeam:
    """A reference, or a user's own class, as a `Team`; it is told where demands are, and explores nothing.

    Args:
        method: its name, for messages.
        config: a whole configuration.

    Raises:
        UserError: there is no such method, or its class cannot be made.
    """

    explores = False

    def __init__(self, method: str, config: Config) -> None:
        self.config, self._method = config, method
        if method in REFERENCES.keys() - set(_ALL_KNOWING) and config.task.demand_sensing != "broadcast":
            raise UserError(
                f"evaluation.methods: {method} is told every demand, which task.demand_sensing="
                f"{config.task.demand_sensing} does not allow; leave it out, or hold trained methods against "
                f"{', '.join(_ALL_KNOWING)}"
            )
        make = _constructor(method)
        with told_in_a_line(f"evaluation.methods: {method} cannot be made of a configuration"):
            self._reference = make(config)
        if not callable(getattr(self._reference, "choose", None)):
            raise UserError(f"evaluation.methods: {method} has no method choose(state)")
        self._n_missions = 0

    @property
    def bytes_sent(self) -> np.ndarray:
        """See `Team`."""
        sent, shape = np.asarray(getattr(self._reference, "bytes_sent", 0.0)), (self._n_missions,)
        if sent.shape not in ((), shape) or not np.issubdtype(sent.dtype, np.number):
            raise UserError(
                f"evaluation.methods: {self._method}.bytes_sent must be numbers of shape {shape}, by all agents of "
                f"each mission so far, not {sent.dtype} of shape {sent.shape}"
            )
        return np.broadcast_to(sent, shape)

    def choose(self, state: WorldState) -> tuple[np.ndarray, None]:
        """See `Team`.

        Raises:
            UserError: a class of the user's own failed, or chose something that is no consumer.
        """
        self._n_missions, wait = len(state.time_s), state.unmet.shape[1]
        if ":" not in self._method:
            return self._reference.choose(state), None
        with told_in_a_line(f"evaluation.methods: {self._method}.choose failed"):
            # It may plan in place; the mission goes on.
            choice = np.asarray(self._reference.choose(state.map(np.array)))
        whole = choice.shape == state.present.shape and np.issubdtype(choice.dtype, np.integer)
        if not (whole and choice.min() >= 0 and choice.max() <= wait):
            raise UserError(
                f"evaluation.methods: {self._method}.choose must give integers from 0 to {wait} of shape "
                f"{state.present.shape}, not {choice.dtype} of shape {choice.shape}"
                + (f" from {choice.min()} to {choice.max()}" if whole else "")
            )
        return choice, None


def refuse_slow_radio(config: Config) -> None:
    """Refuse what the batched pass does not model, instead of leaving it out in silence.

    Raises:
        UserError: a latency of more than a decision, or limited bandwidth.
    """
    comm, most_steps = config.comm, config.policy.decision_steps
    limits = {
        "comm.latency_steps": (comm.latency_steps, comm.latency_steps <= most_steps, f"at most {most_steps}"),
        "comm.bandwidth_bytes_per_s": (comm.bandwidth_bytes_per_s, comm.bandwidth_bytes_per_s == inf, "inf"),
    }
    for key, (asked, modelled, limit) in limits.items():
        if not modelled:
            raise UserError(f"{key}={asked} is flown by `sortie sim` alone; set it to {limit} here")


def make_team(method: str, config: Config) -> Team:
    """The team that `evaluation.methods` names; a trained one is that of `policy.checkpoint`.

    Raises:
        UserError: the radio is one that only the ROS graph has, or as for `PolicyTeam` and `ReferenceTeam`.
    """
    refuse_slow_radio(config)
    return PolicyTeam(config) if method in config.evaluation.learned else ReferenceTeam(method, config)


def _constructor(method: str) -> Callable[[Config], Any]:
    if ":" not in method:
        if method not in REFERENCES:
            close = difflib.get_close_matches(method, REFERENCES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"references are {', '.join(REFERENCES)}"
            raise UserError(f"evaluation.methods: {method} is neither in evaluation.learned nor a reference; {hint}")
        return REFERENCES[method]
    return import_class(method, "evaluation.methods")
