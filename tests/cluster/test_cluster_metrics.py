"""Figures of a run, worked out by hand."""

from __future__ import annotations

import pytest
from hand_made_clusters import line, run, workload

from sortie_cluster.metrics import metrics
from sortie_cluster.rules import rule
from sortie_cluster.scheduler import Scheduler


def test_two_tasks_on_one_core() -> None:
    tasks = workload([4.0, 2.0, 1.0], arrival_s=[0.0, 1.0, 6.0])
    found = metrics(run(line(1.0), tasks, Scheduler()), 0.0)
    assert found["completion_mean_s"] == pytest.approx((4.0 + 5.0 + 1.0) / 3)
    assert found["waiting_mean_s"] == pytest.approx(1.0)
    assert found["slowdown_mean"] == pytest.approx((1.0 + 2.5 + 1.0) / 3)
    assert found["makespan_s"] == 7.0
    assert (found["completed"], found["dropped"], found["backlog"], found["reruns"]) == (3, 0, 0, 0)
    # between the first and the last arrival, 6 s: two tasks end, the core never rests
    assert found["throughput_per_h"] == pytest.approx(2 / 6 * 3600)
    assert found["utilisation_cpu"] == pytest.approx(1.0)


def test_load_is_compared_between_nodes() -> None:
    tasks = workload([4.0, 4.0, 1.0], arrival_s=[0.0, 0.0, 8.0], entry=[0, 0, 1])
    found = metrics(run(line(1.0, 1.0), tasks, Scheduler()), 0.0)
    assert found["utilisation_cpu"] == pytest.approx(0.5)
    assert found["jain"] == pytest.approx(0.5)
    assert found["load_variation"] == pytest.approx(1.0)
    even = metrics(run(line(1.0, 1.0), tasks, rule("work_stealing")), 0.0)
    assert (even["jain"], even["load_variation"], even["hops_mean"]) == (1.0, 0.0, pytest.approx(1 / 3))


def test_a_closed_loop_counts_time_after_warming_up() -> None:
    tasks = workload([1.0] * 10, source=[0] * 10, think_s=[1.0] * 10)
    found = metrics(run(line(1.0), tasks, Scheduler(), until_s=10.0), 0.5)
    assert found["completed"] == 5
    assert found["throughput_per_h"] == pytest.approx(3 / 5 * 3600)  # ends at 6, 8 and 10
    assert found["utilisation_cpu"] == pytest.approx(3 / 5)


def test_what_has_not_ended_is_the_backlog() -> None:
    found = metrics(run(line(1.0), workload([5.0, 5.0]), Scheduler(), until_s=7.0), 0.0)
    assert (found["completed"], found["backlog"]) == (1, 1)
