"""The time-aware centralised reference: routes of the whole team, planned anew at every decision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_expert.assignment import solve
from sortie_expert.local_search import auction_plan, improve
from sortie_expert.problem import on_host
from sortie_expert.route_problem import RouteProblem
from sortie_expert.routes import STOPS, play_out, timetable

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState
    from sortie_expert.routes import Timetable

_GAP = 5e-3
"""Relative gap to which each problem is solved."""
_MOST_ROUTES = 300
"""Routes of two stops up to which the solver chooses among them all; larger teams get the best first stops from the
solver, and the second ones from local search. With those the programme of two stops proves little, since it may hold
stock back, and takes a hundred times as long."""
_AGENTS_PER_DECISION = 30
"""Teams so many times as large ask the solver at every so many-th decision only, and plan by local search between."""
_RIVALS = 2
"""Pairs per agent of the local search."""


class TimeAwareExpert:
    """Chooses consumers for all agents at once, knowing everything; stateful over a batch of missions.

    At every decision the better of the auction's plan and of the last decision's is improved by local search, and from
    there by the solver. A plan gives way only to one that is worth more; no margin is asked for on top, which made
    missions worse, since the drones' momentum is part of the timetable.

    Args:
        config: for the task, speeds and expert.time_limit_s, which the results depend on if it is short.

    Attributes:
        plan: [B, N, S] int of the last decision.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.plan = np.zeros((0, 0, STOPS), dtype=np.int64)
        self._decision = 0

    def choose(self, state: WorldState) -> Array:
        """The consumers [B, N] int that agents are sent to first; M for an agent that is to wait."""
        here = state.map(on_host)
        table, plan = timetable(here, self.config), auction_plan(here, self.config)
        if self.plan.shape == plan.shape:
            plan = _better(table, self.plan, plan)
        plan = improve(table, plan, _RIVALS)
        n_agents, n_consumers = table.arrival_s.shape[1:]
        if n_agents * n_consumers**2 <= _MOST_ROUTES:
            plan = _better(table, plan, self._solved(table, plan, STOPS))
        elif self._decision % math.ceil(n_agents / _AGENTS_PER_DECISION) == 0:
            plan = _better(table, plan, improve(table, self._solved(table, plan, 1), _RIVALS))
        self.plan, self._decision = plan, self._decision + 1
        return array_namespace(state.position).asarray(plan[:, :, 0], device=device_of(state.position))

    def _solved(self, table: Timetable, plan: np.ndarray, stops: int) -> np.ndarray:
        """[B, N, S] int, plans of at most so many stops by the solver, which starts from those of `plan`."""
        start = plan.copy()
        start[:, :, stops:] = table.need.shape[1]
        limit_s = self.config.expert.time_limit_s
        problems = (RouteProblem.from_table(table, b, stops) for b in range(len(plan)))
        return np.stack(
            [solve(each, limit_s, relative_gap=_GAP, start=start[b]).plan for b, each in enumerate(problems)]
        )


def _better(table: Timetable, plan: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mission by mission `plan`, unless `other` is worth more."""
    better = play_out(table, other).value > play_out(table, plan).value
    return np.where(better[:, None, None], other, plan)
