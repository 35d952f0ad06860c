"""Solving the time-aware problem: its linear programme by HiGHS, which starts from the plan at hand, or by SCIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cvxpy as cp
import highspy
import numpy as np

from sortie_expert.route_problem import RouteProgramme
from sortie_expert.solution import AssignmentStatus, Search, run

if TYPE_CHECKING:
    from sortie_expert.route_problem import RouteProblem

_STATUS = {
    highspy.HighsModelStatus.kOptimal: AssignmentStatus.BOUNDED,
    highspy.HighsModelStatus.kTimeLimit: AssignmentStatus.TIME_LIMIT,
    highspy.HighsModelStatus.kInfeasible: AssignmentStatus.INFEASIBLE,
    highspy.HighsModelStatus.kUnboundedOrInfeasible: AssignmentStatus.INFEASIBLE,
}


def routes_by_highs(problem: RouteProblem, search: Search) -> AssignmentStatus:
    """Branch and cut from the search's plan, to half of the gap asked for: the other half is left to holding back.

    Args:
        problem: of one mission.
        search: takes the plan and the bound.
    """
    programme = RouteProgramme.of(problem)
    if not len(programme.routes):
        search.bound = problem.unmet
        return AssignmentStatus.BOUNDED
    highs = highspy.Highs()
    for name, value in {"output_flag": False, "threads": 1, "random_seed": 0, "mip_rel_gap": 0.0}.items():
        highs.setOptionValue(name, value)
    highs.passModel(_model(programme))
    while True:
        gap = max(0.5 * search.relative_gap * search.objective, 1e-9)
        status = _proposed(highs, programme, problem, search, gap)
        # The objective that the gap is a share of may have come down by what was found.
        closed = search.gap <= search.relative_gap or gap <= 0.51 * search.relative_gap * search.objective
        if closed or status is not AssignmentStatus.BOUNDED:
            return status


def _proposed(
    highs: highspy.Highs, programme: RouteProgramme, problem: RouteProblem, search: Search, gap: float
) -> AssignmentStatus:
    """One run to within an absolute gap, from the search's plan."""
    n_routes = len(programme.routes)
    highs.setOptionValue("time_limit", highs.getRunTime() + max(search.left_s, 0.0))
    highs.setOptionValue("mip_abs_gap", gap)
    highs.setSolution(n_routes, np.arange(n_routes, dtype=np.int32), programme.encoded(search.plan))
    highs.run()
    information = highs.getInfo()
    if np.isfinite(information.mip_dual_bound):
        search.bound = max(search.bound, problem.unmet + information.mip_dual_bound)
    if information.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        search.offer(programme.decoded(problem, np.array(highs.getSolution().col_value)))
    return _STATUS.get(highs.getModelStatus(), AssignmentStatus.FAILED)


def routes_by_scip(problem: RouteProblem, search: Search) -> AssignmentStatus:
    """As `routes_by_highs`, but from scratch."""
    programme = RouteProgramme.of(problem)
    if not len(programme.routes):
        search.bound = problem.unmet
        return AssignmentStatus.BOUNDED
    n_routes = len(programme.routes)
    chosen, handed = cp.Variable(n_routes, boolean=True), cp.Variable(len(programme.cost) - n_routes, nonneg=True)
    used = programme.matrix[:, :n_routes] @ chosen + programme.matrix[:, n_routes:] @ handed
    cost = programme.cost[n_routes:] @ handed
    model = cp.Problem(cp.Minimize(cost), [used <= programme.limit, handed <= programme.upper[n_routes:]])
    parameters = {
        "limits/time": max(search.left_s, 0.0), "limits/absgap": 0.5 * search.relative_gap * search.objective,
        "numerics/feastol": 1e-7, "randomization/randomseedshift": 0,
    }  # fmt: skip
    status = run(model, search, solver=cp.SCIP, scip_params=parameters)
    if model.solver_stats is not None:
        statistics: Any = model.solver_stats.extra_stats
        search.bound = max(search.bound, problem.unmet + statistics["model"].getDualbound())
    if chosen.value is not None:
        search.offer(programme.decoded(problem, chosen.value))
    return AssignmentStatus.BOUNDED if status is AssignmentStatus.OPTIMAL else status


def _model(programme: RouteProgramme) -> highspy.HighsLp:
    """The programme as HiGHS takes it."""
    n_routes, n_columns, matrix = len(programme.routes), len(programme.cost), programme.matrix
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = n_columns, len(programme.limit)
    model.col_cost_, model.col_lower_, model.col_upper_ = programme.cost, np.zeros(n_columns), programme.upper
    model.row_lower_, model.row_upper_ = np.full(len(programme.limit), -np.inf), programme.limit
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
    model.a_matrix_.value_ = matrix.data
    kinds = highspy.HighsVarType
    model.integrality_ = [kinds.kInteger] * n_routes + [kinds.kContinuous] * (n_columns - n_routes)
    return model
