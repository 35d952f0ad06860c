"""One interface to the problems and solvers of the expert.

Whatever a solver returns is a proposal. Plans are decoded, checked and valued here, and every solution carries the
lower bound that was proved, so that its gap is known.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from sortie_core.config import UserError
from sortie_expert.problem import AssignmentProblem
from sortie_expert.quadratic_solver import outer_approximation, quadratic
from sortie_expert.route_problem import RouteProblem
from sortie_expert.route_solver import routes_by_highs, routes_by_scip
from sortie_expert.solution import AssignmentSolution, AssignmentStatus, Problem, Search

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["EXACT_GAP", "WORKING_GAP", "Solver", "solve"]

Solver = Literal["highs", "scip"]
EXACT_GAP = 1e-6
"""Relative gap at which an assignment counts as the optimum."""
WORKING_GAP = 1e-2
"""Relative gap for guidance and references: proving the rest takes longer than it is worth."""
_TOLERANCE_GAP = 1e-5
"""Relative gap that the solvers' own feasibility tolerances can leave although they report an optimum."""

_METHODS: dict[tuple[type, str], Callable[[Any, Search], AssignmentStatus]] = {
    (AssignmentProblem, "highs"): outer_approximation,
    (AssignmentProblem, "scip"): quadratic,
    (RouteProblem, "highs"): routes_by_highs,
    (RouteProblem, "scip"): routes_by_scip,
}


def solve(
    problem: Problem,
    time_limit_s: float,
    solver: Solver = "highs",
    relative_gap: float = EXACT_GAP,
    start: np.ndarray | None = None,
) -> AssignmentSolution:
    """The plan with the lowest objective, to within a gap or as good as time allows.

    Deterministic unless the time limit cuts it short.

    Args:
        problem: an `AssignmentProblem`, whose quadratic objective is blind to time; or a `RouteProblem`, whose linear
            one is the time that demands stay unmet.
        time_limit_s: wall-clock limit, s.
        solver: "highs", which takes the quadratic problem by outer approximation, or "scip".
        relative_gap: proved relative gap at which to stop.
        start: a feasible plan; the solution is no worse.

    Returns:
        A feasible plan whatever happens: where the solver has none, one by local search.

    Raises:
        UserError: an unknown solver.
        ValueError: `start` is not feasible.
    """
    solvers = sorted({name for _, name in _METHODS})
    if solver not in solvers:
        raise UserError(f"no solver {solver!r}; choose one of {', '.join(solvers)}")
    started_s = time.perf_counter()
    first = problem.improved(problem.nobody) if start is None else start
    if faults := problem.faults(first):
        raise ValueError(f"start: {faults[0]}")
    search = Search(problem, relative_gap, started_s + time_limit_s, first, problem.objective(first))
    if problem.useful.any():
        status = _judged(_METHODS[type(problem), solver](problem, search), search)
    else:
        status, search.bound = AssignmentStatus.OPTIMAL, search.objective
    if faults := problem.faults(search.plan):
        raise ArithmeticError(f"infeasible plan: {faults[0]}")
    # Tolerances may put the proved bound a hair above the plan that attains it.
    bound = min(search.bound, search.objective)
    elapsed_s = time.perf_counter() - started_s
    return AssignmentSolution(search.plan, search.objective, bound, search.gap, status, elapsed_s)


def _judged(claim: AssignmentStatus, search: Search) -> AssignmentStatus:
    """What a solver claims, held against the plan that was decoded, checked and valued here."""
    if search.bound > search.objective * (1 + _TOLERANCE_GAP) + 1e-9:
        return AssignmentStatus.FAILED
    proved = AssignmentStatus.OPTIMAL, AssignmentStatus.BOUNDED, AssignmentStatus.TIME_LIMIT
    if claim in proved and search.gap <= search.relative_gap:
        return AssignmentStatus.OPTIMAL
    if claim is AssignmentStatus.OPTIMAL and search.gap > max(search.relative_gap, _TOLERANCE_GAP):
        return AssignmentStatus.FAILED
    return claim
