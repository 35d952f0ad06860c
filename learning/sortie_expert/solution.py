"""What every solver of the expert works on and comes back with: a problem, a search, a solution, a status."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import cvxpy as cp
import numpy as np

__all__ = ["AssignmentSolution", "AssignmentStatus", "Problem", "Search", "run", "status_of"]


class Problem(Protocol):
    """An objective to minimise over plans: [N] int consumers, or [N, S] int stops in order; M for none."""

    @property
    def nobody(self) -> np.ndarray:
        """The plan in which every agent waits: always feasible."""
        ...

    @property
    def useful(self) -> np.ndarray:
        """[N, M] bool, where an agent can bring a consumer anything."""
        ...

    def objective(self, plan: np.ndarray, /) -> float:
        """The objective of a plan, never below 0."""
        ...

    def faults(self, plan: np.ndarray, /) -> list[str]:
        """What makes a plan infeasible, in words; empty if it is feasible."""
        ...

    def improved(self, plan: np.ndarray, /) -> np.ndarray:
        """A feasible plan with an objective no higher, by local search."""
        ...

    def key(self) -> str:
        """Hexadecimal digits that identify the content."""
        ...


class AssignmentStatus(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    """The gap asked for is proved."""
    TIME_LIMIT = "time_limit"
    """Stopped before that; the assignment is feasible, its gap is what was proved."""
    BOUNDED = "bounded"
    """What was solved is a relaxation: the assignment is feasible, and the gap is what was proved."""
    INFEASIBLE = "infeasible"
    """The solver found no assignment possible, which is wrong (everybody may wait): a numerical fault."""
    FAILED = "failed"
    """The solver broke off, or its result does not bear out what it claims."""


@dataclass(frozen=True, eq=False)
class AssignmentSolution:
    """A feasible assignment and what is known of it.

    Attributes:
        plan: [N] int, the consumer of each agent, M for none; or [N, S] int, its stops in order.
        objective: of the assignment, computed from the problem's definition.
        bound: proved lower bound of the optimum.
        gap: ``(objective - bound) / objective``, 0 where the objective is 0.
        status: how the solve ended.
        solve_time_s: wall-clock time, model building included.
    """

    plan: np.ndarray
    objective: float
    bound: float
    gap: float
    status: AssignmentStatus
    solve_time_s: float

    @property
    def assignment(self) -> np.ndarray:
        """[N] int, the consumer that each agent is sent to first, M for none."""
        return self.plan if self.plan.ndim == 1 else self.plan[:, 0]


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
class Search:
    """The best plan and the best bound so far.

    Attributes:
        problem: what is solved.
        relative_gap: at which to stop.
        deadline_s: by `time.perf_counter`.
        plan: feasible.
        objective: of the plan.
        bound: proved lower bound of the optimum.
        seen: proposals of a solver so far.
    """

    problem: Problem
    relative_gap: float
    deadline_s: float
    plan: np.ndarray
    objective: float
    bound: float = 0.0
    seen: set[bytes] = field(default_factory=set)

    @property
    def gap(self) -> float:
        """Relative, 0 where the objective is 0."""
        return max(0.0, self.objective - self.bound) / max(self.objective, 1e-12)

    @property
    def left_s(self) -> float:
        """Wall-clock time left, s."""
        return self.deadline_s - time.perf_counter()

    def offer(self, proposal: np.ndarray | None) -> None:
        """Take a proposal, and what local search makes of it, if it is feasible and better."""
        if proposal is None or self.problem.faults(proposal) or np.array_equal(proposal, self.plan):
            return
        better = self.problem.improved(proposal)
        objective = self.problem.objective(better)
        if objective < self.objective:
            self.plan, self.objective = better, objective


def run(programme: cp.Problem, search: Search, **options: Any) -> AssignmentStatus:
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
