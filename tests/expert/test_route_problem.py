"""The time-aware problem against brute force, its relaxation, and both solvers against each other."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from instances import midway, scarce_config

from sortie_core.config import UserError
from sortie_core.layout import sample_layout
from sortie_expert.assignment import EXACT_GAP, solve
from sortie_expert.bank import solve_bank
from sortie_expert.local_search import auction_plan
from sortie_expert.route_problem import RouteProblem
from sortie_expert.routes import play_out, timetable
from sortie_expert.solution import AssignmentStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOLVERS = ("highs", "scip")
SMALL = scarce_config("team.n_agents=4", "task.n_consumers=3", "task.n_resources=2")


def small(seed: int, stops: int = 2, presence: int = 0) -> RouteProblem:
    """4 agents and 3 consumers, every other one in mid-mission; some agents carry both kinds."""
    config = SMALL.override([f"team.kinds_per_agent={1 + seed % 3 // 2}", f"task.n_presence={presence}"])
    state = sample_layout(config, [seed])
    return RouteProblem.from_state(midway(state, config, seed) if seed % 2 else state, 0, config, stops)


def brute_force(problem: RouteProblem) -> float:
    """The lowest objective over all plans."""
    none = problem.n_consumers
    routes = [(m, none) for m in range(none + 1)]
    routes += list(itertools.permutations(range(none), 2)) if problem.stops == 2 else []
    plans = np.array(routes)[np.array(list(itertools.product(range(len(routes)), repeat=problem.n_agents)))]
    table = problem.table
    many = {
        name: np.repeat(value, len(plans), axis=0) if isinstance(value, np.ndarray) else value
        for name, value in vars(table).items()
    }
    return problem.unmet - float(play_out(replace(table, **many), plans).value.max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_stop_is_solved_to_the_optimum_of_brute_force(solver: str) -> None:
    for seed in range(10):
        problem = small(seed, stops=1)
        solution = solve(problem, 120.0, solver)
        assert solution.status is AssignmentStatus.OPTIMAL
        assert solution.objective == pytest.approx(brute_force(problem), rel=1e-5, abs=1e-6), seed
        assert not problem.faults(solution.plan)


@pytest.mark.parametrize("presence", [0, 1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_two_stops_are_bounded_from_below_and_nearly_reached(solver: str, presence: int) -> None:
    """The programme may hold stock back, which a plan does not; then a gap stays and the status says so."""
    gaps = []
    for seed in range(6) if solver == "highs" else (0, 1, 3, 5):
        problem = small(seed, presence=presence)
        optimum, solution = brute_force(problem), solve(problem, 120.0, solver)
        assert solution.bound <= optimum * (1 + 1e-6) + 1e-6 <= solution.objective * (1 + 1e-5) + 1e-5
        assert solution.status in (AssignmentStatus.OPTIMAL, AssignmentStatus.BOUNDED)
        assert (solution.status is AssignmentStatus.OPTIMAL) == (solution.gap <= EXACT_GAP)
        assert not problem.faults(solution.plan)
        gaps.append((solution.objective - optimum) / max(optimum, 1e-6))
    assert np.mean(gaps) < 1e-3
    assert max(gaps) < 1e-2


def test_both_solvers_prove_the_same_bound() -> None:
    for seed in (0, 1, 3, 5):
        bounds = [solve(small(seed), 120.0, solver).bound for solver in SOLVERS]
        assert bounds[0] == pytest.approx(bounds[1], rel=1e-4, abs=1e-4)


def test_a_start_is_never_made_worse_and_a_limit_still_gives_a_plan() -> None:
    config = scarce_config()
    for seed in range(4):
        state = sample_layout(config, [seed])
        problem = RouteProblem.from_state(state, 0, config)
        start = auction_plan(state, config)[0]
        for limit_s in (1e-6, 5.0):
            solution = solve(problem, limit_s, relative_gap=0.01, start=start)
            assert solution.objective <= problem.objective(start) + 1e-6
            assert not problem.faults(solution.plan)
            assert solution.objective == pytest.approx(problem.objective(solution.plan))
            assert solution.gap == pytest.approx((solution.objective - solution.bound) / solution.objective, abs=1e-9)
        again = solve(problem, 0.0, start=solution.plan)
        assert np.array_equal(again.plan, solution.plan)
        assert again.status is AssignmentStatus.TIME_LIMIT
    with pytest.raises(ValueError, match="start: agent 0 is sent to"):
        solve(problem, 1.0, start=np.full((8, 2), 9))


def test_more_time_left_costs_more_and_earlier_is_better() -> None:
    """One agent, one consumer: by hand."""
    config = scarce_config("team.n_agents=1", "task.n_consumers=1", "task.n_resources=1", "task.reference_agents=0")
    state = sample_layout(config, [0]).replace(
        position=np.zeros((1, 1, 2), np.float32),
        consumer_position=np.array([[[4.6, 0]]], np.float32),
        stock=np.full((1, 1, 1), 0.8, np.float32),
        unmet=np.ones((1, 1, 1), np.float32),
    )
    problem = RouteProblem.from_state(state, 0, config)
    # 4 m at 2 m/s, 0.25 s to get going, 0.15 s to brake, then 0.8 s to hand over 0.8 units.
    left_s, late_s, arrival_s = 10.0, 2.0, 2.4
    assert problem.objective(problem.nobody) == pytest.approx(left_s + late_s)
    expected = (left_s + late_s) - 0.8 * (left_s - arrival_s - 0.4 + late_s)
    assert solve(problem, 5.0).objective == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("corrupt", "fault"),
    [
        (lambda plan: plan, None),
        (lambda plan: plan[:-1], r"instead of int\[4, 2\]"),
        (lambda plan: plan.astype(float), r"instead of int"),
        (lambda plan: np.full_like(plan, 4), "not all of which are consumers"),
        (lambda plan: np.tile([1, 1], (4, 1)), "sent twice to consumer 1"),
        (lambda plan: np.tile([3, 1], (4, 1)), "a stop after none"),
        (lambda plan: np.tile([1, 3], (4, 1)), "need anything that it has"),
        (lambda plan: np.tile([0, 2], (4, 1)), "2 stops, not 1"),
    ],
)
def test_recheck_catches_what_is_infeasible(corrupt: Callable[[np.ndarray], np.ndarray], fault: str | None) -> None:
    table = timetable(sample_layout(SMALL, [0]), SMALL)
    if fault and "need anything" in fault:
        table = replace(table, need=table.need * np.array([1, 0, 1])[None, :, None])
    problem = RouteProblem.from_table(table, 0, stops=1 if fault and "not 1" in fault else 2)
    faults = problem.faults(corrupt(solve(problem, 5.0).plan))
    assert not faults if fault is None else re.search(fault, faults[0])


def test_unknown_solver_is_named() -> None:
    with pytest.raises(UserError, match="no solver 'cplex'; choose one of highs, scip"):
        solve(small(0), 1.0, "cplex")


def test_nothing_to_do() -> None:
    config = SMALL
    state = sample_layout(config, [0])
    over = state.replace(time_s=np.full(1, config.duration_s, np.float32))
    for idle in (over, state.replace(unmet=0 * state.unmet), state.replace(stock=0 * state.stock)):
        for solver in SOLVERS:
            problem = RouteProblem.from_state(idle, 0, config)
            solution = solve(problem, 5.0, solver)
            assert np.all(solution.plan == 3)
            assert solution.gap == 0
            assert solution.status is AssignmentStatus.OPTIMAL


def test_the_bank_keeps_routes_and_tells_the_problems_apart(tmp_path: Path) -> None:
    config = scarce_config("team.n_agents=5")
    layouts = sample_layout(config, range(3))
    timed = solve_bank(layouts, config, tmp_path, workers=1)
    assert timed.shape == (3, 5)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 3
    assert np.array_equal(solve_bank(layouts, config, tmp_path, workers=1), timed)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files, "nothing was solved again"
    solve_bank(layouts, config, tmp_path, workers=1, timed=False)
    assert len(list(tmp_path.iterdir())) == 6
