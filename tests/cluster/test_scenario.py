"""From a configuration to nodes and tasks: the load asked for, the same for every policy, disjoint windows."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made_clusters import RING, configuration

from sortie_cluster.bounds import closed_loop_bounds
from sortie_cluster.scenario import make_scenario, tasks_of


@pytest.mark.parametrize("load", [0.3, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_jobs_are_as_far_apart_as_the_load_asks_for(load: float, seed: int) -> None:
    config = configuration(f"arrivals.load={load}", "arrivals.n_tasks=800", "arrivals.dependencies=true")
    cluster, tasks, _ = make_scenario(config, seed)
    span_s = tasks.arrival_s.max() - tasks.arrival_s.min()
    use = [
        (need * tasks.work_s).sum() / span_s / (most * cluster.speed).sum()
        for need, most in ((tasks.cpu, cluster.cpu), (tasks.memory, cluster.memory))
    ]
    assert max(use) == pytest.approx(load, rel=1e-6)
    assert (np.diff(tasks.arrival_s) >= 0).all()


def test_a_seed_gives_the_same_run_and_another_another() -> None:
    config = configuration()
    (_, one, _), (_, same, _), (_, other, _) = (make_scenario(config, seed) for seed in (1, 1, 2))
    assert (one.work_s == same.work_s).all() and (one.entry == same.entry).all()
    assert len(one) != len(other) or (one.work_s != other.work_s).any()


def test_all_tasks_of_a_job_arrive_where_it_was_submitted() -> None:
    _, tasks, _ = make_scenario(configuration(), 0)
    for job in np.unique(tasks.job):
        assert len(set(tasks.entry[tasks.job == job])) == 1
    _, spread, _ = make_scenario(configuration("arrivals.entry=task"), 0)
    assert any(len(set(spread.entry[spread.job == job])) > 1 for job in np.unique(spread.job))


def test_dependencies_are_of_the_same_job_and_have_no_cycles() -> None:
    _, tasks, _ = make_scenario(configuration("arrivals.dependencies=true"), 0)
    assert sum(map(len, tasks.parents)) > 20
    for task, parents in enumerate(tasks.parents):
        assert all(tasks.job[parent] == tasks.job[task] for parent in parents)
    done: set[int] = set()
    left = set(range(len(tasks)))
    while ready := {task for task in left if set(tasks.parents[task]) <= done}:
        done |= ready
        left -= ready
    assert not left


def test_windows_share_no_job() -> None:
    jobs = {
        window: set(tasks_of(configuration(f"trace.window={window}").trace).table.job_name)
        for window in ("train", "validation", "test")
    }
    assert not jobs["train"] & jobs["test"] and not jobs["train"] & jobs["validation"]
    assert not jobs["validation"] & jobs["test"]


def test_predictions_know_nothing_of_the_task_itself() -> None:
    tasks = tasks_of(configuration().trace)
    known, took_s = np.log1p(tasks.predicted_s), np.log1p(tasks.table.duration_s)
    assert 0.1 < 1 - np.mean((took_s - known) ** 2) / np.var(took_s) < 0.95
    assert (tasks.predicted_s != tasks.table.duration_s).mean() > 0.9


def test_a_closed_loop_has_tasks_enough_and_the_bounds_of_queueing_theory() -> None:
    config = configuration(*RING, "trace.n_jobs=20000")
    cluster, tasks, _ = make_scenario(config, 0)
    assert len(tasks) / 17 > 600 / (8.34 + tasks.work_s.mean())
    assert (tasks.work_s >= 1).all() and (tasks.work_s <= 17).all()
    most_per_h, least_s = closed_loop_bounds(config)
    assert most_per_h == pytest.approx(4394, rel=0.02)
    assert least_s == pytest.approx(5.59, abs=0.25)
    assert len(cluster) == 6
