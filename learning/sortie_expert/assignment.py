"""Solving the assignment problem with cvxpy: outer approximation by HiGHS, or the quadratic programme itself by SCIP.

Whatever a solver returns is a proposal. Assignments are decoded, checked and valued here, and every solution carries
the lower bound that was proved, so that its gap is known.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.atoms.sum_squares import sum_squares

from sortie_core.config import UserError
from sortie_expert.problem import AssignmentProblem, check, descend, nobody

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EXACT_GAP", "WORKING_GAP", "AssignmentProblem", "AssignmentSolution", "AssignmentStatus", "Solver", "check",
    "solve", "status_of",
]  # fmt: skip

Solver = Literal["highs", "scip"]
EXACT_GAP = 1e-6
"""Relative gap at which an assignment counts as the optimum."""
WORKING_GAP = 1e-2
"""Relative gap for guidance and references: proving the rest takes longer than it is worth."""
_TOLERANCE_GAP = 1e-5
"""Relative gap that the solvers' own feasibility tolerances can leave although they report an optimum."""
_TANGENTS = 32
"""Tangents per shortfall to begin with; they underestimate its square by no more than 1 / (2 _TANGENTS)^2."""


class AssignmentStatus(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    """The gap asked for is proved."""
    TIME_LIMIT = "time_limit"
    """Stopped before that; the assignment is feasible, its gap is what was proved."""
    INFEASIBLE = "infeasible"
    """The solver found no assignment possible, which is wrong (everybody may wait): a numerical fault."""
    FAILED = "failed"
    """The solver broke off, or its result does not bear out what it claims."""


@dataclass(frozen=True, eq=False)
class AssignmentSolution:
    """A feasible assignment and what is known of it.

    Attributes:
        assignment: [N] int, the consumer of each agent, M for none.
        objective: of the assignment, computed from the problem's definition.
        bound: proved lower bound of the optimum.
        gap: ``(objective - bound) / objective``, 0 where the objective is 0.
        status: how the solve ended.
        solve_time_s: wall-clock time, model building included.
    """

    assignment: np.ndarray
    objective: float
    bound: float
    gap: float
    status: AssignmentStatus
    solve_time_s: float


_STATUS = {
    cp.OPTIMAL: AssignmentStatus.OPTIMAL,
    cp.OPTIMAL_INACCURATE: AssignmentStatus.TIME_LIMIT,  # what SCIP's limits on time, gap and nodes become
    cp.settings.USER_LIMIT: AssignmentStatus.TIME_LIMIT,
    cp.INFEASIBLE: AssignmentStatus.INFEASIBLE,
    cp.INFEASIBLE_INACCURATE: AssignmentStatus.INFEASIBLE,
    cp.settings.INFEASIBLE_OR_UNBOUNDED: AssignmentStatus.INFEASIBLE,  # the objective is never below 0
    cp.UNBOUNDED: AssignmentStatus.FAILED,
    cp.UNBOUNDED_INACCURATE: AssignmentStatus.FAILED,
    cp.SOLVER_ERROR: AssignmentStatus.FAILED,
}


def status_of(cvxpy_status: str | None) -> AssignmentStatus:
    """This package's word for a status of cvxpy; `FAILED` for one that it does not know."""
    return AssignmentStatus.FAILED if cvxpy_status is None else _STATUS.get(cvxpy_status, AssignmentStatus.FAILED)


@dataclass
class _Search:
    """The best assignment and the best bound so far."""

    problem: AssignmentProblem
    relative_gap: float
    deadline_s: float
    assignment: np.ndarray
    objective: float
    bound: float = 0.0
    seen: set[bytes] = field(default_factory=set)

    @property
    def gap(self) -> float:
        return max(0.0, self.objective - self.bound) / max(self.objective, 1e-12)

    @property
    def left_s(self) -> float:
        return self.deadline_s - time.perf_counter()

    def offer(self, proposal: np.ndarray | None) -> None:
        """Take a proposal, and what single changes make of it, if it is feasible and better."""
        if proposal is None or check(self.problem, proposal):
            return
        better = descend(self.problem, proposal)
        objective = self.problem.objective(better)
        if objective < self.objective:
            self.assignment, self.objective = better, objective


class _Model:
    """What both solvers share: choices, shares of demand left unmet, and the travel term."""

    def __init__(self, problem: AssignmentProblem) -> None:
        self.problem = problem
        self.agent, self.consumer = np.nonzero(problem.useful)
        rows = np.argwhere(problem.need > 0)
        choice, share = np.arange(len(self.agent)), np.arange(len(rows))
        # Entry (row, pair): the share of the row's demand that the pair's agent would supply.
        supplies = rows[:, 0][:, None] == self.consumer[None]
        amount = problem.stock[self.agent][:, rows[:, 1]].T / problem.scale[rows[:, 0], rows[:, 1]][:, None]
        need = problem.need[rows[:, 0], rows[:, 1]] / problem.scale[rows[:, 0], rows[:, 1]]
        once = sp.csr_array((np.ones(len(choice)), (self.agent, choice)), shape=(problem.n_agents, len(choice)))
        self.rows = tuple(rows.T)
        self.chosen = cp.Variable(len(choice), boolean=True)
        self.unmet = cp.Variable(len(share), nonneg=True)
        self.constraints = [
            self.unmet >= need - sp.csr_array(supplies * amount) @ self.chosen,
            once[np.unique(self.agent)] @ self.chosen <= 1,
        ]
        self.travel = problem.cost[self.agent, self.consumer] @ self.chosen

    def proposal(self) -> np.ndarray | None:
        """[N] int, what the solver left, rounded to one consumer per agent; None where it left nothing."""
        value = self.chosen.value
        if value is None or value.shape != self.agent.shape:
            return None
        taken = value > 0.5
        assignment = nobody(self.problem)
        assignment[self.agent[taken]] = self.consumer[taken]
        return assignment


def _run(programme: cp.Problem, search: _Search, **options: Any) -> AssignmentStatus:
    """Solve silently; returns the mapped status."""
    try:
        with warnings.catch_warnings():
            # cvxpy warns of every solution that a limit cut short; the gap says so better.
            warnings.simplefilter("ignore")
            programme.solve(**options)
    except cp.SolverError:
        # SCIP stopped by the clock before it had anything is an error to cvxpy.
        return AssignmentStatus.TIME_LIMIT if search.left_s <= 0 else AssignmentStatus.FAILED
    return status_of(programme.status)


def _outer_approximation(model: _Model, search: _Search) -> AssignmentStatus:
    """Each squared shortfall replaced by tangents; more of them at every assignment found, until the bound meets it.

    ``t >= 2 u0 u - u0^2`` underestimates ``u^2`` and is exact at u0 (the outer approximation of Duran and Grossmann),
    so that the bound of each linear programme holds for the quadratic one.
    """
    square = cp.Variable(model.unmet.shape, nonneg=True)
    at = np.arange(1, _TANGENTS + 1) / _TANGENTS
    each = sp.eye_array(model.unmet.size)
    tangents = sp.kron(each, 2 * at[:, None]) @ model.unmet - np.tile(at**2, model.unmet.size)
    constraints = [*model.constraints, sp.kron(each, np.ones((_TANGENTS, 1))) @ square >= tangents]
    while search.left_s > 0:
        programme = cp.Problem(cp.Minimize(square.sum() + model.travel), constraints)
        status = _run(
            programme, search, solver=cp.HIGHS, time_limit=search.left_s, threads=1, random_seed=0,
            mip_rel_gap=0.5 * search.relative_gap, mip_abs_gap=1e-9,
            mip_feasibility_tolerance=1e-9, primal_feasibility_tolerance=1e-9,
        )  # fmt: skip
        if status not in (AssignmentStatus.OPTIMAL, AssignmentStatus.TIME_LIMIT):
            return status
        statistics: Any = programme.solver_stats.extra_stats
        search.bound = max(search.bound, statistics.mip_dual_bound)
        proposal = model.proposal()
        search.offer(proposal)
        if status is AssignmentStatus.TIME_LIMIT or search.gap <= search.relative_gap:
            return status
        if proposal is None:
            return AssignmentStatus.FAILED
        if proposal.tobytes() in search.seen:
            # Exact already at this assignment: more tangents cannot move the bound.
            return status
        search.seen.add(proposal.tobytes())
        share = search.problem.shortfall(proposal)[model.rows]
        constraints.append(square >= sp.diags_array(2 * share) @ model.unmet - share**2)
    return AssignmentStatus.TIME_LIMIT


def _quadratic(model: _Model, search: _Search) -> AssignmentStatus:
    """The programme as it stands, by branch and cut on the quadratic constraint that cvxpy makes of the objective."""
    programme = cp.Problem(cp.Minimize(sum_squares(model.unmet) + model.travel), model.constraints)
    parameters = {
        "limits/time": max(search.left_s, 0.0), "limits/gap": search.relative_gap, "numerics/feastol": 1e-7,
        "randomization/randomseedshift": 0,
    }  # fmt: skip
    status = _run(programme, search, solver=cp.SCIP, scip_params=parameters)
    if programme.solver_stats is not None:
        statistics: Any = programme.solver_stats.extra_stats
        search.bound = max(search.bound, statistics["model"].getDualbound())
        search.offer(model.proposal())
    return status


_METHODS: dict[str, Callable[[_Model, _Search], AssignmentStatus]] = {
    "highs": _outer_approximation,
    "scip": _quadratic,
}


def solve(
    problem: AssignmentProblem,
    time_limit_s: float,
    solver: Solver = "highs",
    relative_gap: float = EXACT_GAP,
) -> AssignmentSolution:
    """The assignment with the lowest objective, to within a gap or as good as time allows.

    Deterministic unless the time limit cuts it short.

    Args:
        problem: the problem.
        time_limit_s: wall-clock limit, s.
        solver: "highs" for outer approximation, "scip" for the quadratic programme.
        relative_gap: proved relative gap at which to stop.

    Returns:
        A feasible assignment whatever happens: where the solver has none, one by local search.

    Raises:
        UserError: an unknown solver.
    """
    if solver not in _METHODS:
        raise UserError(f"no solver {solver!r}; choose one of {', '.join(_METHODS)}")
    started_s = time.perf_counter()
    start = descend(problem, nobody(problem))
    search = _Search(problem, relative_gap, started_s + time_limit_s, start, problem.objective(start))
    if problem.useful.any():
        status = _judged(_METHODS[solver](_Model(problem), search), search)
    else:
        status, search.bound = AssignmentStatus.OPTIMAL, search.objective
    faults = check(problem, search.assignment)
    if faults:
        raise ArithmeticError(f"infeasible assignment: {faults[0]}")
    # Tolerances may put the proved bound a hair above the assignment that attains it.
    bound = min(search.bound, search.objective)
    elapsed_s = time.perf_counter() - started_s
    return AssignmentSolution(search.assignment, search.objective, bound, search.gap, status, elapsed_s)


def _judged(claim: AssignmentStatus, search: _Search) -> AssignmentStatus:
    """What a solver claims, held against the assignment that was decoded, checked and valued here."""
    if search.bound > search.objective * (1 + _TOLERANCE_GAP) + 1e-9:
        return AssignmentStatus.FAILED
    proved = AssignmentStatus.OPTIMAL, AssignmentStatus.TIME_LIMIT
    if claim in proved and search.gap <= search.relative_gap:
        return AssignmentStatus.OPTIMAL
    if claim is AssignmentStatus.OPTIMAL and search.gap > max(search.relative_gap, _TOLERANCE_GAP):
        return AssignmentStatus.FAILED
    return claim
