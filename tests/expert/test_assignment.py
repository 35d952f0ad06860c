"""The assignment against brute force, under time limits, and against results that must not be believed."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import cvxpy as cp
import numpy as np
import pytest
import torch
from instances import main_config, padded, sampled, small

from sortie_core.config import UserError
from sortie_core.layout import sample_layout, sample_training_layout
from sortie_expert import assignment as module
from sortie_expert import solution as solution_module
from sortie_expert.assignment import EXACT_GAP, solve
from sortie_expert.problem import AssignmentProblem
from sortie_expert.solution import AssignmentStatus, Search, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

SOLVERS = ("highs", "scip")


def written_out(problem: AssignmentProblem, assignment: tuple[int, ...]) -> float:
    """The objective by loops over its definition."""
    total = 0.0
    for m in range(problem.n_consumers):
        for r in range(problem.stock.shape[1]):
            supply = sum(problem.stock[i, r] for i, chosen in enumerate(assignment) if chosen == m)
            if problem.need[m, r] > 0:
                total += max(0.0, problem.need[m, r] - supply) ** 2 / problem.demand[m, r] ** 2
    alive = int(problem.available.sum())
    for i, chosen in enumerate(assignment):
        if chosen < problem.n_consumers:
            gap = problem.position[i] - problem.consumer_position[chosen]
            total += problem.distance_weight * float(gap @ gap) / (alive * problem.diameter_m**2)
    return total


def brute_force(problem: AssignmentProblem) -> float:
    """The lowest objective over all (M + 1)^N assignments of available agents."""
    options = [
        range(problem.n_consumers + 1) if available else [problem.n_consumers] for available in problem.available
    ]
    return min(written_out(problem, assignment) for assignment in itertools.product(*options))


@pytest.fixture(scope="module")
def optima() -> dict[int, float]:
    return {seed: brute_force(small(seed)) for seed in range(14)}


@pytest.mark.parametrize("solver", SOLVERS)
def test_optimum_equals_brute_force(solver: str, optima: dict[int, float]) -> None:
    for seed, optimum in optima.items():
        problem = small(seed)
        solution = solve(problem, 20.0, solver)
        assert solution.status is AssignmentStatus.OPTIMAL
        assert solution.objective == pytest.approx(optimum, rel=1e-6, abs=1e-9), seed
        assert solution.bound <= optimum * (1 + 1e-6) + 1e-9, "the bound is above the optimum"
        assert solution.gap <= 1e-5
        assert not problem.faults(solution.assignment)


def test_optimum_of_these_instances_is_not_what_local_search_finds(optima: dict[int, float]) -> None:
    """Otherwise the comparison above would say nothing about the solvers."""
    worse = 0
    for seed, optimum in optima.items():
        problem = small(seed)
        worse += problem.objective(problem.improved(problem.nobody)) > optimum * 1.01 + 1e-6
    assert worse >= 3


@pytest.mark.parametrize("seed", range(5))
def test_objective_is_the_definition(seed: int) -> None:
    problem = small(seed)
    assignment = np.random.default_rng(seed).integers(0, 4, 6)
    assert problem.objective(assignment) == pytest.approx(written_out(problem, tuple(assignment)), rel=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("time_limit_s", [1e-6, 0.3])
def test_time_limit_gives_a_feasible_assignment_and_an_honest_gap(solver: str, time_limit_s: float) -> None:
    problem = sampled(0, 30, 6, 3, "task.supply_ratio=[1.0,1.0]")
    solution = solve(problem, time_limit_s, solver)
    assert solution.status is AssignmentStatus.TIME_LIMIT
    assert not problem.faults(solution.assignment)
    assert solution.objective == pytest.approx(written_out(problem, tuple(solution.assignment)))
    assert solution.gap > EXACT_GAP
    assert solution.gap == pytest.approx((solution.objective - solution.bound) / solution.objective)
    assert solution.objective < problem.objective(problem.nobody)
    assert solution.solve_time_s < time_limit_s + 2.0
    # No feasible assignment may lie below the bound; a longer search by the other solver finds better ones.
    other = solve(problem, 2.0, "scip" if solver == "highs" else "highs")
    assert solution.bound <= other.objective * (1 + 1e-6)


def test_working_gap_is_met_and_called_optimal() -> None:
    for solver in SOLVERS:
        solution = solve(sampled(3, 12, 4, 2), 20.0, solver, relative_gap=0.05)
        assert solution.status is AssignmentStatus.OPTIMAL
        assert solution.gap <= 0.05


@pytest.mark.parametrize(
    ("corrupt", "fault"),
    [
        (lambda a: np.where(np.arange(6) == 2, 3, a) + 0, None),
        (lambda a: np.where(np.arange(6) == 2, 4, a), "neither a consumer"),
        (lambda a: np.where(np.arange(6) == 2, -1, a), "neither a consumer"),
        (lambda a: np.where(np.arange(6) == 5, 0, a), "not available"),
        (lambda a: np.where(np.arange(6) == 1, 1, a), "needs nothing"),
        (lambda a: a[:-1], "instead of int[6]"),
        (lambda a: a.astype(float), "instead of int[6]"),
    ],
)
def test_recheck_catches_what_is_infeasible(corrupt: Callable[[np.ndarray], np.ndarray], fault: str | None) -> None:
    problem = small(1)
    need, available = problem.need.copy(), problem.available.copy()
    need[1] = 0.0
    available[:] = True
    available[5] = False
    problem = replace(problem, need=need, available=available)
    faults = problem.faults(corrupt(solve(problem, 10.0).assignment))
    assert not faults if fault is None else fault in faults[0]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("lie", ["fraction", "two at once", "wrong size", "worse than claimed"])
def test_a_lying_solver_is_not_believed(monkeypatch: pytest.MonkeyPatch, solver: str, lie: str) -> None:
    problem = sampled(0, 8, 3, 2)
    honest = cp.Problem.solve

    def corrupted(self: cp.Problem, *args: object, **kwargs: object) -> object:
        value = honest(self, *args, **kwargs)
        chosen = next(variable for variable in self.variables() if variable.attributes["boolean"])
        wrong = {
            "fraction": np.full(chosen.shape, 0.5),
            "two at once": np.ones(chosen.shape),
            "wrong size": np.ones(3),
            "worse than claimed": np.zeros(chosen.shape),
        }[lie]
        chosen._value = wrong
        return value

    monkeypatch.setattr(cp.Problem, "solve", corrupted)
    solution = solve(problem, 10.0, solver)
    assert not problem.faults(solution.assignment)
    assert solution.objective == pytest.approx(written_out(problem, tuple(solution.assignment)))
    assert solution.status is AssignmentStatus.FAILED


def test_a_bound_above_the_objective_is_a_fault_not_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    def overshoot(problem: object, search: Search) -> AssignmentStatus:
        search.bound = 1.01 * search.objective
        return AssignmentStatus.OPTIMAL

    monkeypatch.setitem(module._METHODS, (AssignmentProblem, "highs"), overshoot)
    solution = solve(small(0), 10.0)
    assert solution.status is AssignmentStatus.FAILED
    assert solution.bound <= solution.objective


def test_a_broken_solver_still_gives_a_feasible_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: cp.Problem, *args: object, **kwargs: object) -> None:
        raise cp.SolverError("out of order")

    monkeypatch.setattr(cp.Problem, "solve", broken)
    problem = small(0)
    solution = solve(problem, 10.0)
    assert solution.status is AssignmentStatus.FAILED
    assert solution.bound == 0.0
    assert not problem.faults(solution.assignment)


def test_every_status_of_cvxpy_is_mapped() -> None:
    settings = cp.settings
    known = {*settings.SOLUTION_PRESENT, *settings.INF_OR_UNB, *settings.INACCURATE, *settings.ERROR}
    assert known == set(solution_module._STATUS)
    for status in known:
        assert isinstance(status_of(status), AssignmentStatus)
    assert status_of(settings.USER_LIMIT) is AssignmentStatus.TIME_LIMIT
    assert status_of(settings.OPTIMAL) is AssignmentStatus.OPTIMAL
    assert {status for status in known if status_of(status) is AssignmentStatus.OPTIMAL} == {settings.OPTIMAL}
    assert status_of("a status of a later version") is AssignmentStatus.FAILED
    assert status_of(None) is AssignmentStatus.FAILED


@pytest.mark.parametrize("solver", SOLVERS)
def test_padding_and_the_dead_are_never_assigned_and_change_nothing(solver: str) -> None:
    config = main_config("team.n_agents=7", "train.n_consumers=[2,4]", "train.n_resources=[1,3]")
    layouts = padded(sample_training_layout(config, range(4)), 3)
    layouts.failure_time_s[:, 0] = 0.0
    for b in range(4):
        problem = AssignmentProblem.from_state(layouts, b, config)
        agents, consumers = layouts.alive[b], layouts.active[b]
        assert agents.sum() < len(agents)
        solution = solve(problem, 10.0, solver)
        served = solution.assignment[agents]
        assert np.all(solution.assignment[~agents] == problem.n_consumers)
        assert np.all(consumers[served[served < problem.n_consumers]])
        bare = replace(
            problem,
            position=problem.position[agents],
            stock=problem.stock[agents],
            available=problem.available[agents],
            consumer_position=problem.consumer_position[consumers],
            need=problem.need[consumers],
            demand=problem.demand[consumers],
        )
        assert solve(bare, 10.0, solver).objective == pytest.approx(solution.objective, rel=1e-5)


def test_nothing_needed_and_nobody_there() -> None:
    problem = small(2)
    for idle in (
        replace(problem, need=np.zeros_like(problem.need)),
        replace(problem, available=np.zeros(6, dtype=bool)),
        replace(problem, stock=np.zeros_like(problem.stock)),
    ):
        solution = solve(idle, 1.0)
        assert np.all(solution.assignment == 3)
        assert (solution.status, solution.gap) == (AssignmentStatus.OPTIMAL, 0.0)
        assert solution.objective == pytest.approx(written_out(idle, (3,) * 6))


def test_problem_of_a_state() -> None:
    """Consumables are needed as far as unmet, presence in full until held; late and met demands not at all."""
    config = main_config("task.n_presence=1", "task.presence_hold_s=2.0", "world.dt_s=0.1")
    state = sample_layout(config, [5], 4, 5, 2)
    state.unmet[:] = 0.25 * state.demand
    state.demand_time_s[0, 1] = 3.0
    state.completed[0, 2] = True
    state.presence_held_s[0, 3] = 2.0
    state.unmet[0, 4, 0] = 1e-7
    state.stock[0, 3, 1] = 1e-7
    problem = AssignmentProblem.from_state(state, 0, config)
    demand = state.demand[0].astype(np.float64)
    expected = np.stack([0.25 * demand[:, 0], demand[:, 1]], axis=1)
    expected[[1, 2]] = 0.0
    expected[3, 1] = 0.0
    expected[4, 0] = 0.0
    np.testing.assert_allclose(problem.need, expected, rtol=1e-6)
    assert np.argwhere(problem.stock == 0).tolist() == [[3, 1]]
    assert problem.diameter_m == pytest.approx(10 * 2**0.5)
    twin = AssignmentProblem.from_state(state.map(torch.as_tensor), 0, config)
    assert twin.key() == problem.key()


def test_key_is_the_content() -> None:
    problem = small(0)
    assert small(0).key() == problem.key()
    changed = [replace(problem, distance_weight=0.5), replace(problem, stock=problem.stock + 1e-12)]
    assert len({problem.key(), *(other.key() for other in changed)}) == 3


def test_solvers_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    for solver in SOLVERS:
        solve(sampled(1, 8, 3, 2), 10.0, solver)
        solve(sampled(0, 20, 5, 3), 0.2, solver)
    assert capfd.readouterr() == ("", "")


def test_unknown_solver_is_named() -> None:
    with pytest.raises(UserError, match="no solver 'cplex'; choose one of highs, scip"):
        solve(small(0), 1.0, "cplex")
