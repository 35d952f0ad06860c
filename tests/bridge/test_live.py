"""Whole live runs: real processes, real DDS, and real workers."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import psutil
import pytest

pytest.importorskip("sortie_interfaces.msg", reason="run `make test`, which builds and uses the ROS workspace")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sortie_interfaces.msg import WorldStatus

from sortie_nodes import qos

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import LiveRun

pytestmark = pytest.mark.ros

SMALL = ("cluster.n_nodes=4", "arrivals.n_tasks=24", "ros.agents_per_process=2")
FIGURES = {"policy", "seed", "completion_mean_s", "completion_p95_s", "utilisation_cpu", "throughput_per_h", "dropped",
           "backlog", "reruns"}  # fmt: skip


def ran_once(schedule: dict[str, Any]) -> None:
    assert None not in schedule["end_s"]
    assert -1 not in schedule["node"]
    assert not any(schedule["dropped"])


def test_lockstep_schedules_all_tasks_and_does_so_again(live: Callable[..., LiveRun]) -> None:
    flags = ("--lockstep", "--json")
    changes = (*SMALL, "live.backend=simulated", "live.kill_node=1", "live.kill_at_s=20", "comm.loss=0.1")
    one = live("one", *changes, flags=flags)
    assert one.exit_code == 0, one.stderr
    summary, report = one.summary, json.loads(one.stdout)
    ran_once(summary["schedule"])
    assert summary["violations"] == []
    assert summary["faults"] == []
    assert summary["messages_lost"] > 0
    assert summary["contraction_rate"] > 0
    measured, rehearsed, predicted = report["rows"]
    assert set(measured) >= FIGURES
    assert set(measured) == set(predicted)
    assert [row["run"] for row in report["rows"]] == ["simulated", "rehearsed", "predicted"]
    assert {**measured, "run": "rehearsed"} == rehearsed, "the graph does what it does in one process"
    assert measured["backlog"] == measured["dropped"] == 0
    assert measured["completed"] == summary["tasks"] == predicted["completed"]
    assert measured["completion_mean_s"] < 3 * predicted["completion_mean_s"]
    with (one.folder / "tasks.csv").open() as file:
        tasks = list(csv.DictReader(file))
    assert len(tasks) == summary["tasks"]
    assert [float(task["end_s"]) for task in tasks] == summary["schedule"]["end_s"]
    assert [int(task["node"]) for task in tasks] == summary["schedule"]["node"]
    with (one.folder / "nodes.csv").open() as file:
        assert sum(int(node["tasks"]) for node in csv.DictReader(file)) == summary["tasks"]

    two = live("two", *changes, "ros.agents_per_process=1", flags=flags)
    assert two.exit_code == 0, two.stderr
    assert two.summary["schedule"] == summary["schedule"]


def test_no_task_is_lost_with_its_worker(live: Callable[..., LiveRun]) -> None:
    changes = ("live.backend=dask", "live.kill_node=1", "live.kill_at_s=15", "live.time_scale=0.2")
    run = live("dask", *SMALL, "arrivals.load=5", *changes)  # whoever is killed has something to do
    assert run.exit_code == 0, run.stderr
    schedule = run.summary["schedule"]
    ran_once(schedule)
    assert run.summary["violations"] == []
    assert "the worker of node 1 is gone" in run.stderr
    lost = [task for task, *_ in schedule["lost"]]
    assert len(set(lost)) == len(lost) == run.summary["reruns"] > 0
    assert all(node == 1 for _, node, *_ in schedule["lost"])
    assert "reruns after a failure" in run.stdout


def test_the_others_take_over_from_an_agent_whose_process_dies(live: Callable[..., LiveRun]) -> None:
    def kill_the_agent_of_node_2(runner: int) -> None:
        witness = rclpy.create_node("witness", context=context)
        ticks: list[int] = []
        witness.create_subscription(WorldStatus, "team_status", lambda told: ticks.append(told.tick), qos.TEAM_STATUS)
        while not ticks or ticks[-1] < 10:
            rclpy.spin_once(witness, executor=executor, timeout_sec=0.1)
        (agent,) = [each for each in psutil.Process(runner).children() if "__ns:=/drone_2" in each.cmdline()]
        agent.kill()
        witness.destroy_node()

    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor(context=context)
    try:
        changes = ("live.backend=simulated", "ros.agents_per_process=1", "ros.lockstep=true", "arrivals.load=2")
        run = live("dead", *SMALL, *changes, disturb=kill_the_agent_of_node_2)
    finally:
        executor.shutdown()
        rclpy.try_shutdown(context=context)
    assert run.exit_code == 0, run.stderr
    schedule = run.summary["schedule"]
    ran_once(schedule)
    assert run.summary["violations"] == []
    assert [fault["drone"] for fault in run.summary["faults"]] == [2]
    assert {each[1] for each in schedule["moves"] if each[4]} >= {2}  # tasks that waited at node 2 were taken over


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("live.address=tcp://127.0.0.1:9", "live.address: nobody answers"),
        ("comm.radius_m=0.5", "comm.radius_m: 0.5 m leaves nodes without a way"),
        ("cluster.hop_s=1", "cluster.hop_s: live, handing a task over takes a tick"),
        ("agents.hops=2", "agents.hops: a radio reaches one hop"),
        ("agents.checkpoint=configs/checkpoints/lgtc-1.ckpt", "is of a drone"),
        ("ros.lockstep=true", "ros.lockstep: real workers wait for nobody"),
    ],
)
def test_bad_input_is_one_line(live: Callable[..., LiveRun], override: str, complaint: str) -> None:
    run = live("bad", override)
    assert run.exit_code == 2
    assert complaint in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
