"""Solving the quadratic problem with cvxpy: outer approximation by HiGHS, or the programme itself by SCIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.atoms.sum_squares import sum_squares

from sortie_expert.solution import AssignmentStatus, Search, run

if TYPE_CHECKING:
    from sortie_expert.problem import AssignmentProblem

_TANGENTS = 32
"""Tangents per shortfall to begin with; they underestimate its square by no more than 1 / (2 _TANGENTS)^2."""


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
        assignment = self.problem.nobody
        assignment[self.agent[taken]] = self.consumer[taken]
        return assignment


def outer_approximation(problem: AssignmentProblem, search: Search) -> AssignmentStatus:
    """Each squared shortfall replaced by tangents; more of them at every assignment found, until the bound meets it.

    ``t >= 2 u0 u - u0^2`` underestimates ``u^2`` and is exact at u0 (the outer approximation of Duran and Grossmann),
    so that the bound of each linear programme holds for the quadratic one.
    """
    model = _Model(problem)
    square = cp.Variable(model.unmet.shape, nonneg=True)
    at = np.arange(1, _TANGENTS + 1) / _TANGENTS
    each = sp.eye_array(model.unmet.size)
    tangents = sp.kron(each, 2 * at[:, None]) @ model.unmet - np.tile(at**2, model.unmet.size)
    constraints = [*model.constraints, sp.kron(each, np.ones((_TANGENTS, 1))) @ square >= tangents]
    while search.left_s > 0:
        programme = cp.Problem(cp.Minimize(square.sum() + model.travel), constraints)
        status = run(
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
        share = problem.shortfall(proposal)[model.rows]
        constraints.append(square >= sp.diags_array(2 * share) @ model.unmet - share**2)
    return AssignmentStatus.TIME_LIMIT


def quadratic(problem: AssignmentProblem, search: Search) -> AssignmentStatus:
    """The programme as it stands, by branch and cut on the quadratic constraint that cvxpy makes of the objective."""
    model = _Model(problem)
    programme = cp.Problem(cp.Minimize(sum_squares(model.unmet) + model.travel), model.constraints)
    parameters = {
        "limits/time": max(search.left_s, 0.0), "limits/gap": search.relative_gap, "numerics/feastol": 1e-7,
        "randomization/randomseedshift": 0,
    }  # fmt: skip
    status = run(programme, search, solver=cp.SCIP, scip_params=parameters)
    if programme.solver_stats is not None:
        statistics: Any = programme.solver_stats.extra_stats
        search.bound = max(search.bound, statistics["model"].getDualbound())
        search.offer(model.proposal())
    return status
