"""Whole missions: real processes, started as users start them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import rclpy
from sortie_interfaces.msg import WorldStatus
from std_srvs.srv import Empty, Trigger

from sortie_bringup.fleet import MANAGER, fleet
from sortie_bringup.processes import command_line
from sortie_core.config import load_config
from sortie_core.packets import deliberation_rounds
from sortie_nodes import qos

if TYPE_CHECKING:
    from conftest import Flown, Graph, Missions

pytestmark = pytest.mark.ros

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
WALL_CLOCK = {"wall_time_s", "real_time_factor", "agent_tick_ms", "agent_tick_cpu_ms"}
FIGURES = {
    "seed", "config_hash", "n_agents", "n_consumers", "n_resources", "delivered_fraction", "delivered_auc",
    "time_to_90_s", "mission_time_s", "collisions", "min_separation_m", "messages_sent", "messages_delivered",
    "bytes_sent", "contraction_rate", "real_time_factor", "agent_tick_ms", "faults", "safety_interventions",
}  # fmt: skip


def replayed(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name not in WALL_CLOCK}


def assert_same_mission(one: Flown, other: Flown) -> None:
    first, second = one.trajectory, other.trajectory
    assert set(first) == set(second)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_lockstep_flies_the_same_mission_again_however_the_agents_are_hosted(missions: Missions) -> None:
    one = missions.fly("one", "comm.loss=0.2")
    assert one.exit_code == 0, one.stderr
    summary = one.summary
    assert set(summary) >= FIGURES
    assert summary["faults"] == []
    assert summary["delivered_fraction"] > 0.1
    assert summary["mission_time_s"] == pytest.approx(8.0)
    assert summary["contraction_rate"] == 0.25
    policy = load_config(one.folder / "config.yaml").policy
    # One round at every tick, and those of the deliberation at every fifth.
    assert summary["messages_sent"] == 4 * (80 + 16 * deliberation_rounds(policy.hops, policy.exchanges))
    assert 0 < summary["messages_lost"] < summary["messages_delivered"]
    assert summary["agent_tick_ms"]["p50"] < summary["agent_tick_ms"]["p99"]
    assert (one.folder / "mission.png").stat().st_size > 10_000
    again = load_config(one.folder / "config.yaml")
    assert again.hash() == summary["config_hash"]

    two = missions.fly("two", "comm.loss=0.2")
    assert replayed(two.summary) == replayed(summary)
    assert_same_mission(one, two)

    hosted = missions.fly("hosted", "comm.loss=0.2", "ros.agents_per_process=3", flags=("--lockstep", "--json"))
    assert json.loads(hosted.stdout) == hosted.summary
    assert_same_mission(one, hosted)


class Witness:
    """Watches a mission from outside and meddles with its processes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.status: WorldStatus | None = None
        node = rclpy.create_node("witness")
        node.create_subscription(WorldStatus, "team_status", self._keep, qos.TEAM_STATUS)
        graph.add(node)

    def _keep(self, message: WorldStatus) -> None:
        self.status = message

    def until_tick(self, tick: int) -> None:
        self._graph.until(lambda: self.status is not None and self.status.tick >= tick, 40, f"tick {tick}")

    def until_lost(self, drone: int) -> None:
        self._graph.until(lambda: not self.status.alive[drone], 20, f"drone {drone} lost")


def agent_process(runner: subprocess.Popen[str], drone: int) -> psutil.Process:
    children = psutil.Process(runner.pid).children(recursive=True)
    return next(child for child in children if f"__ns:=/drone_{drone}" in child.cmdline())


@pytest.mark.parametrize(
    ("how", "flags", "overrides", "kinds"),
    [
        # On a busy machine the gate may notice the silence before the runner's word of the exit gets through.
        (signal.SIGKILL, (), ("task.duration_s=9",), {"process_exit", "landing"}),
        (signal.SIGSTOP, ("--lockstep",), ("task.duration_s=40", "ros.command_timeout_s=2"), {"silent"}),
    ],
    ids=["killed", "hanging"],
)
def test_a_team_goes_on_without_a_drone_whose_process_dies_or_hangs(
    missions: Missions,
    graph: Graph,
    how: signal.Signals,
    flags: tuple[str, ...],
    overrides: tuple[str, ...],
    kinds: set[str],
) -> None:
    """Dead processes are seen by the runner, hanging ones by their silence, as all are under `ros2 launch`."""
    witness = Witness(graph)
    with missions.start("shot", *overrides, flags=flags) as runner:
        witness.until_tick(25)
        process = agent_process(runner, 2)
        process.send_signal(how)
        witness.until_lost(2)
        if how == signal.SIGSTOP:
            process.send_signal(signal.SIGCONT)
        flown = missions.finish("shot", runner)
    assert flown.exit_code == 0, flown.stderr
    summary, track = flown.summary, flown.trajectory
    assert [fault["drone"] for fault in summary["faults"]] == [2]
    assert summary["faults"][0]["kind"] in kinds
    assert "2" in summary["faults"][0]["text"]
    last_alive = int(np.flatnonzero(track["alive"][:, 2])[-1])
    assert 25 <= last_alive < len(track["alive"]) - 10
    assert summary["faults"][0]["time_s"] == pytest.approx(0.1 * last_alive, abs=2.0)
    assert track["alive"][-1].tolist() == [True, True, False, True]
    after = slice(last_alive + 1, None)
    assert np.ptp(track["stock"][after, 2], axis=0).max() == 0, "it delivers nothing more"
    assert np.ptp(track["position"][last_alive + 10 :, 2, :2], axis=0).max() < 0.05, "it stays where it is"
    others = np.delete(track["stock"], 2, axis=1)
    assert others[-1].sum() < others[last_alive + 1].sum(), "the others deliver"


def test_people_land_drones_and_cut_motors_in_simulation_too(missions: Missions, graph: Graph) -> None:
    witness, node = Witness(graph), rclpy.create_node("people")
    graph.add(node)
    land, emergency = node.create_client(Trigger, "/drone_1/land"), node.create_client(Empty, "/drone_2/emergency")
    overrides = ("task.duration_s=12", "world.backend=pybullet", "task.supply_ratio=[0.2,0.2]")
    with missions.start("people", *overrides, flags=()) as runner:
        witness.until_tick(10)
        graph.until(lambda: land.service_is_ready() and emergency.service_is_ready(), 10, "the services")
        land.call_async(Trigger.Request())
        emergency.call_async(Empty.Request())
        flown = missions.finish("people", runner)
    kinds = {fault["drone"]: fault["kind"] for fault in flown.summary["faults"]}
    assert kinds == {1: "told_to_land", 2: "emergency"}
    track = flown.trajectory
    assert track["alive"][-1].tolist() == [True, False, False, True]
    height = track["position"][:, :, 2]
    np.testing.assert_allclose(height[-1, [1, 2]], 0.0, atol=0.06)
    np.testing.assert_allclose(height[-1, [0, 3]], 1.0, atol=0.1)
    dead = int(np.flatnonzero(~track["alive"][:, 2])[0])
    assert height[dead + 8, 2] < 0.1, "it falls"
    assert height[dead + 8, 1] > 0.4, "it goes down slowly"


def test_an_interrupted_mission_leaves_no_process_behind(missions: Missions, graph: Graph) -> None:
    witness = Witness(graph)
    with missions.start("cut", "task.duration_s=60", flags=()) as runner:
        witness.until_tick(3)
        children = psutil.Process(runner.pid).children(recursive=True)
        assert len(children) == 5 + 4
        runner.send_signal(signal.SIGINT)
        flown = missions.finish("cut", runner)
    assert flown.exit_code == 130
    assert flown.stderr.splitlines()[-1] == "sortie: interrupted"
    assert "Traceback" not in flown.stderr
    assert "cleanly" not in flown.stderr
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_an_interrupt_while_the_team_starts_is_quiet(missions: Missions) -> None:
    with missions.start("early", flags=()) as runner:
        while len(children := psutil.Process(runner.pid).children()) < 5 + 4:
            time.sleep(0.01)
        runner.send_signal(signal.SIGINT)
        flown = missions.finish("early", runner)
    assert flown.exit_code == 130
    assert flown.stderr.splitlines() == ["sortie: interrupted"]
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_who_stops_reading_sees_no_traceback(missions: Missions) -> None:
    with missions.start("unread", "task.duration_s=2", flags=("--lockstep", "--json")) as runner:
        assert runner.stdout
        runner.stdout.close()
        assert runner.stderr
        stderr = runner.stderr.read()
        assert runner.wait(20) == 1
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr


def test_without_the_world_the_mission_is_over(missions: Missions, graph: Graph) -> None:
    witness = Witness(graph)
    with missions.start("halt", "task.duration_s=60", flags=()) as runner:
        witness.until_tick(3)
        children = psutil.Process(runner.pid).children(recursive=True)
        next(child for child in children if "__node:=world" in child.cmdline()).kill()
        flown = missions.finish("halt", runner)
    assert flown.exit_code == 1
    assert flown.stderr.splitlines()[-1] == "sortie: world ended with signal SIGKILL; no mission goes on without it"
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_real_time_keeps_the_pace_of_the_wall_clock(missions: Missions) -> None:
    flown = missions.fly("paced", "task.duration_s=3", "ros.real_time_factor=2", "ros.success_fraction=0", flags=())
    summary = flown.summary
    assert flown.exit_code == 0, flown.stderr
    assert summary["real_time_factor"] < 2.05
    # How close it comes is a matter of the machine; without the factor it could not be faster than the wall clock.
    assert summary["real_time_factor"] > 1.05 or summary["late_ticks"] > 0
    assert summary["agent_ticks_abandoned"] < 4 * 30 / 2


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ("comm.radus_m=3", "comm.radius_m"),
        ("team.n_agents=0", "team.n_agents"),
        ("policy.checkpoint=nowhere.ckpt", "nowhere.ckpt"),
        ("team.n_agents=500", "ros.agents_per_process"),
        ("world.altitude_m=5", "safety.z_max_m"),
        ("task.arena_half_m=0.5", "task.arena_half_m"),
    ],
)
def test_bad_input_is_one_line(missions: Missions, change: str, culprit: str) -> None:
    flown = missions.fly("bad", change)
    assert flown.exit_code == 2
    assert len(flown.stderr.splitlines()) == 1
    assert culprit in flown.stderr
    assert flown.stdout == ""
    assert not flown.folder.exists(), "nothing was flown"


def test_the_manager_names_who_is_not_there(domain: int) -> None:
    overrides = ["ros.ready_timeout_s=1.0", "team.n_agents=2"]
    nodes = fleet(load_config(YAML, overrides), YAML, overrides)
    manager = next(node for node in nodes if node.name == MANAGER)
    begin_s = time.monotonic()
    done = subprocess.run(command_line(manager), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "world, comm_relay, safety_gate, drone_0/agent, drone_1/agent" in done.stdout + done.stderr
    assert time.monotonic() - begin_s < 15


def test_the_runner_explains_itself() -> None:
    done = subprocess.run([sys.executable, "-m", "sortie_bringup.runner", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for option in ("--config", "--out", "--lockstep", "--json", "section.key=value"):
        assert option in done.stdout
