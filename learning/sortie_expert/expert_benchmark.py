"""How long the solvers of the expert take, and how far from the optimum they may be, by the size of the problem."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_core.config import load_config
from sortie_core.layout import sample_layout
from sortie_core.shipped import shipped
from sortie_expert.assignment import WORKING_GAP, solve
from sortie_expert.local_search import auction_plan, improve
from sortie_expert.problem import AssignmentProblem
from sortie_expert.route_problem import RouteProblem
from sortie_expert.routes import play_out, timetable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_expert.assignment import Solver
    from sortie_expert.solution import AssignmentSolution, Problem

    Row = dict[str, Any]

_CONFIG = shipped("configs/scarce.yaml")
SIZES = ((8, 5, 3), (15, 4, 3), (30, 6, 3))
"""Agents, consumers, resources."""
_LAYOUTS = 8
"""Problems of each size that every solver gets."""
_LIMIT_S = 2.0
"""What a solver may take for one problem, s."""
_MISSIONS = 256
"""Batch of the local search."""
_SOLVERS: dict[str, tuple[Callable[[Any, int, Config], Problem], Solver]] = {
    "quadratic, SCIP": (AssignmentProblem.from_state, "scip"),
    "quadratic, outer approximation by HiGHS": (AssignmentProblem.from_state, "highs"),
    "one stop in time, HiGHS": (lambda state, b, config: RouteProblem.from_state(state, b, config, 1), "highs"),
    "two stops in time, HiGHS": (RouteProblem.from_state, "highs"),
}


def run(seconds: float) -> dict[str, Any]:
    """Solve layouts of the scarce suite as they are at the start of a mission.

    Args:
        seconds: what one solver may take for the problems of one size, after its first, s.

    Returns:
        ``rows``, one per size and method: agents, consumers, resources, method, problems, ms_median and ms_most per
        problem, gap_mean and gap_most, relative, to the best bound that was proved for the objective, and
        proved_share, the share of problems whose gap was proved to `WORKING_GAP`. For the local search, ms are those
        of a batch of `_MISSIONS` missions. And local_search_gap, the local search's mean gap in the smallest size.
    """
    rows = [row for size in SIZES for row in _measured(size, seconds)]
    first = next(row for row in rows if row["method"].startswith("local search"))
    return {"local_search_gap": first["gap_mean"], "rows": rows}


def _measured(size: tuple[int, int, int], seconds: float) -> list[Row]:
    n_agents, n_consumers, n_resources = size
    changes = {"team.n_agents": n_agents, "task.n_consumers": n_consumers, "task.n_resources": n_resources}
    config = load_config(_CONFIG).changed(changes, "bench")
    state = sample_layout(config, range(_MISSIONS))
    named = {"agents": n_agents, "consumers": n_consumers, "resources": n_resources}
    rows, bounds = [], np.zeros(0)
    for method, (pose, solver) in _SOLVERS.items():
        solutions: list[AssignmentSolution] = []
        until_s = time.perf_counter() + seconds
        while len(solutions) < _LAYOUTS and (not solutions or time.perf_counter() < until_s):
            problem = pose(state, len(solutions), config)
            solutions.append(solve(problem, _LIMIT_S, solver, WORKING_GAP))
        gaps = np.array([solution.gap for solution in solutions])
        bounds = np.array([solution.bound for solution in solutions])
        rows.append(named | {"method": method} | _figures([s.solve_time_s for s in solutions], gaps))
    # The bounds of the last solver are those of the objective that the local search has, too.
    table, plan = timetable(state, config), auction_plan(state, config)
    for rivals in (0, 2):
        began_s = time.perf_counter()
        found = improve(table, plan, rivals)
        spent_s = time.perf_counter() - began_s
        needed = table.need.sum(axis=(1, 2)) * (table.left_s + table.late_s)
        objective = (needed - play_out(table, found).value)[: len(bounds)]
        method = f"local search, {rivals} rivals, {_MISSIONS} missions"
        rows.append(named | {"method": method} | _figures([spent_s], (objective - bounds) / objective))
    return rows


def _figures(spent_s: list[float], gaps: np.ndarray) -> Row:
    return {
        "problems": len(gaps),
        "ms_median": 1e3 * float(np.median(spent_s)),
        "ms_most": 1e3 * max(spent_s),
        "gap_mean": float(gaps.mean()),
        "gap_most": float(gaps.max()),
        "proved_share": float(np.mean(gaps <= WORKING_GAP)),
    }
