"""The relay as a process of its own, over real DDS: who hears what, and what happens when somebody keeps silent."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rclpy
from nav_msgs.msg import Odometry
from sortie_interfaces.msg import Fault, Frame, RadioStatistics, WorldStatus
from sortie_interfaces.msg import Packet as PacketMsg

from sortie_bringup.fleet import NodeDescription
from sortie_core.config import load_config
from sortie_core.packets import Packet
from sortie_nodes import conversions, qos
from sortie_nodes.radio import Radio

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Graph, ManagedProcess

pytestmark = pytest.mark.ros

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
N = 4
LINE = np.array([[0.0, 0.0], [1.5, 0.0], [3.0, 0.0], [9.0, 0.0]], np.float32)


class Team:
    """Plays the world and all drones around one relay."""

    def __init__(self, graph: Graph, start: Callable[[NodeDescription], ManagedProcess]) -> None:
        self._graph, self._start = graph, start
        self.frames: dict[tuple[int, int, int], Frame] = {}
        self.statistics: dict[int, RadioStatistics] = {}
        self.faults: list[Fault] = []
        self.node = node = rclpy.create_node("team")
        self._odometry = [node.create_publisher(Odometry, f"drone_{k}/odom", qos.TICK_STATE) for k in range(N)]
        self._tx = [node.create_publisher(PacketMsg, f"drone_{k}/comm/tx", qos.RADIO) for k in range(N)]
        self._status = node.create_publisher(WorldStatus, "team_status", qos.TEAM_STATUS)
        for k in range(N):
            node.create_subscription(Frame, f"drone_{k}/comm/rx", lambda frame, k=k: self._keep(k, frame), qos.RADIO)
        node.create_subscription(
            RadioStatistics, "radio_statistics", lambda new: self.statistics.update({new.tick: new}), qos.TEAM_STATUS
        )
        node.create_subscription(Fault, "faults", self.faults.append, qos.FAULTS)
        graph.add(node)

    def _keep(self, drone: int, frame: Frame) -> None:
        key = (drone, frame.tick, frame.round)
        assert key not in self.frames, "one frame per receiver and round"
        self.frames[key] = frame

    def relay(self, yaml: Path, *overrides: str) -> None:
        changes = [f"team.n_agents={N}", "ros.command_timeout_s=0.4", *overrides]
        self.config = load_config(yaml, changes)
        parameters = {"config_file": str(yaml), "overrides": changes}
        self._start(NodeDescription("sortie_nodes", "comm_relay_node", "comm_relay", "/", parameters)).activate()

    def world(self, tick: int, seed: int = 5, alive: tuple[bool, ...] = (True,) * N) -> None:
        stamp = conversions.stamp_of(tick, 0.1)
        self._status.publish(WorldStatus(tick=tick, seed=seed, alive=list(alive)))
        for k, at in enumerate(LINE):
            place, rest = np.array([*at, 1.0]), np.zeros(3)
            self._odometry[k].publish(
                conversions.odometry_message(f"drone_{k}", stamp, place, rest, np.array([0.0, 0, 0, 1]))
            )

    def send(self, tick: int, round_: int = 0, drones: tuple[int, ...] = tuple(range(N))) -> None:
        for k in drones:
            payload = np.full(6, 10 * tick + k, np.float32)
            self._tx[k].publish(conversions.packet_message(Packet(k, tick, round_, payload)))

    def hear(self, tick: int, round_: int = 0, drones: tuple[int, ...] = tuple(range(N))) -> list[list[int]]:
        keys = [(k, tick, round_) for k in drones]
        self._graph.until(lambda: all(key in self.frames for key in keys), 5, f"frames {keys}")
        for key in keys:
            for packet in self.frames[key].packets:
                assert list(packet.payload) == [10 * packet.tick + packet.sender] * 6
        return [[packet.sender for packet in self.frames[key].packets] for key in keys]

    def totals(self, tick: int) -> RadioStatistics:
        self._graph.until(lambda: tick in self.statistics, 5, f"statistics of tick {tick}")
        return self.statistics[tick]


@pytest.fixture
def team(graph: Graph, managed: Callable[[NodeDescription], ManagedProcess]) -> Team:
    return Team(graph, managed)


@pytest.mark.parametrize(
    ("radius_m", "heard"),
    [("3.5", [[1, 2], [0, 2], [0, 1], []]), ("1.75", [[1], [0, 2], [1], []])],
)
def test_one_edit_of_the_yaml_file_changes_who_hears_whom(
    team: Team, tmp_path: Path, radius_m: str, heard: list[list[int]]
) -> None:
    edited, count = re.subn(r"(\n  radius_m:) 3\.5", rf"\1 {radius_m}", YAML.read_text())
    assert count == 1
    (tmp_path / "edited.yaml").write_text(edited)
    team.relay(tmp_path / "edited.yaml", "ros.lockstep=true")
    team.world(1)
    team.send(1)
    assert team.hear(1) == heard
    totals = team.totals(1)
    assert (totals.messages_sent, totals.messages_delivered) == (N, sum(map(len, heard)))
    assert totals.bytes_sent == N * Packet(0, 0, 0, np.zeros(6)).n_bytes


def test_loss_latency_and_bandwidth_are_those_of_the_radio_model(team: Team) -> None:
    size = Packet(0, 0, 0, np.zeros(6)).n_bytes
    changes = ["comm.loss=0.3", "comm.latency_steps=2", f"comm.bandwidth_bytes_per_s={7 * size}", "comm.radius_m=20"]
    team.relay(YAML, *changes, "ros.lockstep=true", "policy.decision_steps=1000")
    model = Radio(team.config.comm, 0.1, N, 77)
    for tick in range(1, 25):
        team.world(tick, seed=77)
        team.send(tick)
        packets = {k: Packet(k, tick, 0, np.zeros(6)) for k in range(N)}
        expected = model.exchange(tick, 0, packets, LINE, np.ones(N, bool))
        assert team.hear(tick) == [[packet.sender for packet in each] for each in expected]
    totals = team.totals(24)
    assert totals.messages_refused == model.count.messages_refused > 0
    assert totals.messages_lost == model.count.messages_lost > 0
    assert totals.messages_delivered == model.count.messages_delivered > 0


def test_in_lockstep_a_silent_drone_is_reported_and_left_behind(team: Team) -> None:
    team.relay(YAML, "ros.lockstep=true")
    team.world(1)
    team.send(1, drones=(0, 1, 2))
    team._graph.spin(0.2)
    assert team.frames == {}, "all living drones are waited for"
    assert team.hear(1, drones=(0, 1, 2)) == [[1, 2], [0, 2], [0, 1]]
    assert [(fault.kind, fault.drone, fault.lost) for fault in team.faults] == [("silent", 3, True)]
    team.world(2)
    began_s = time.monotonic()
    team.send(2, drones=(0, 1, 2))
    assert team.hear(2, drones=(0, 1, 2)) == [[1, 2], [0, 2], [0, 1]]
    assert time.monotonic() - began_s < 0.3, "nobody waits for a lost drone"


def test_in_real_time_a_round_closes_without_the_late_ones(team: Team) -> None:
    team.relay(YAML, "ros.lockstep=false", "comm.frame_timeout_s=0.1")
    team.world(1)
    team.send(1, drones=(0, 1))
    assert team.hear(1) == [[1], [0], [0, 1], []]
    team.send(1, drones=(2,))
    team.world(2, alive=(True, False, True, True))
    team.send(2, drones=(0, 1, 2, 3))
    assert team.hear(2, drones=(0, 2, 3)) == [[2], [0], []], "a failed drone is not heard"
    totals = team.totals(2)
    assert (totals.messages_late, totals.messages_sent) == (1, 5)
    assert team.faults == []
    assert (1, 2, 0) not in team.frames, "a failed drone hears nothing"
