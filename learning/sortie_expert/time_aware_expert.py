"""The time-aware centralised reference: routes of the whole team, planned anew at every decision."""

from __future__ import annotations

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
_EXACT_ROUTES = 300
_RIVALS = 4
_MARGIN = 0.0


class TimeAwareExpert:
    """Chooses consumers for all agents at once, knowing everything; stateful over a batch of missions.

    Args:
        config: for the task, speeds and expert.time_limit_s.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.bytes_sent = np.zeros(1)
        self._plan: np.ndarray | None = None

    def choose(self, state: WorldState) -> Array:
        """The chosen consumers [B, N] int; M for an agent that is to wait."""
        here = state.map(on_host)
        table = timetable(here, self.config)
        start = auction_plan(here, self.config)
        if self._plan is not None:
            start = _better(table, self._plan, start)
        plan = improve(table, start, _RIVALS)
        _, n_agents, n_consumers = table.arrival_s.shape
        if n_agents * n_consumers**2 <= _EXACT_ROUTES:
            plan = _better(table, self._solved(table, plan, STOPS), plan)
        else:
            plan = _better(table, improve(table, self._solved(table, plan, 1), _RIVALS), plan)
        if self._plan is not None:
            plan = _better(table, plan, self._plan, _MARGIN)
        self._plan = plan
        return array_namespace(state.position).asarray(plan[:, :, 0], device=device_of(state.position))

    def _solved(self, table: Timetable, plan: np.ndarray, stops: int) -> np.ndarray:
        start = plan.copy()
        start[:, :, stops:] = table.need.shape[1]
        problems = (RouteProblem.from_table(table, b, stops) for b in range(len(plan)))
        return np.stack([
            solve(problem, self.config.expert.time_limit_s, relative_gap=_GAP, start=start[b]).plan
            for b, problem in enumerate(problems)
        ])


def _better(table: Timetable, plan: np.ndarray, other: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Mission by mission `plan`, unless `other` is worth more..."""
    value, others = play_out(table, plan).value, play_out(table, other).value
    return np.where((value >= others * (1 + margin))[:, None, None], plan, other)
