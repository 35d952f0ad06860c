"""Whatever fails in flight ends in the safe state, and in the time, that docs/how-to/fly-real-drones.md promises.

Real processes: protocol peers with PyBullet dynamics, vehicles, gate; the test plays the policies, one command a tick.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import State, Transition
from nav_msgs.msg import Odometry
from sortie_interfaces.msg import Fault, Setpoint, VehicleStatus
from std_srvs.srv import Empty, Trigger

from sortie_bringup.fleet import fleet
from sortie_core.config import load
from sortie_core.flight_config import FlightConfig
from sortie_flight.mavlink_vehicle import MavlinkVehicle
from sortie_nodes import qos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Graph, ManagedProcess

    from sortie_bringup.fleet import NodeDescription

    Start = Callable[[NodeDescription], ManagedProcess]

pytestmark = pytest.mark.ros

CONFIGS = Path(__file__).parents[2] / "configs" / "flight"
N_DRONES = 2
TICK_S = 0.1
LATE_S = 1.0
"""What this test and a busy machine may add to a promised time, s."""
DOWN_S = 8.0
"""From flying altitude to the ground, whoever lands the drone."""


class Flight:
    """Two drones in the hands of a test."""

    def __init__(self, graph: Graph, adapter: str, first_port: int) -> None:
        self.graph, self._adapter = graph, adapter
        path = CONFIGS / f"{adapter}.yaml"
        overrides = [
            f"team.n_agents={N_DRONES}", f"flight.first_port={first_port}", "flight.peers=true", "ros.record=false",
        ]  # fmt: skip
        self.config = load(FlightConfig, path, overrides)
        self.node = rclpy.create_node("policies")
        self.silent: set[int] = set()
        self.commands = {k: (0.0, 0.0) for k in range(N_DRONES)}
        self.vehicle: dict[int, VehicleStatus] = {}
        self.setpoint: dict[int, Setpoint] = {}
        self.phase: dict[int, str] = {}
        self.faults: list[Fault] = []
        self._listen()
        graph.add(self.node)
        self._fleet = fleet(self.config, path, overrides)
        self._peers = ["--config", str(path), "--adapter", adapter, "--", *overrides]
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._managed: dict[str, ManagedProcess] = {}

    def _listen(self) -> None:
        node, hear = self.node, self.node.create_subscription
        self._commander = {}
        for k in range(N_DRONES):
            self._commander[k] = node.create_publisher(TwistStamped, f"drone_{k}/cmd_vel", qos.COMMAND)
            topic = f"drone_{k}/vehicle/status"
            hear(VehicleStatus, topic, lambda new, k=k: self.vehicle.update({k: new}), qos.COMMAND)
            hear(Setpoint, f"drone_{k}/setpoint", lambda new, k=k: self.setpoint.update({k: new}), qos.COMMAND)
            hear(Odometry, f"drone_{k}/vehicle/odom", lambda _: None, qos.TICK_STATE)
        hear(DiagnosticArray, "flight_status", self._on_phases, qos.DIAGNOSTICS)
        hear(Fault, "faults", self.faults.append, qos.FAULTS)
        node.create_timer(TICK_S, self._play_policies)

    def _on_phases(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.phase[int(status.name.removeprefix("drone "))] = status.values[0].value

    def _play_policies(self) -> None:
        if "follow" not in self.phase.values():
            return
        for k, publisher in self._commander.items():
            if k not in self.silent:
                message = TwistStamped()
                message.twist.linear.x, message.twist.linear.y = self.commands[k]
                publisher.publish(message)

    # Processes.

    def start(self, managed_process: Start) -> None:
        peers = [sys.executable, "-m", "sortie_peers.peer_process", *self._peers]
        self._processes["peers"] = subprocess.Popen(peers, stdin=subprocess.PIPE, text=True)
        names = {f"vehicles_{self._adapter}": "vehicles", "safety_gate": "safety_gate"}
        for description in self._fleet:
            if name := names.get(str(description.name)):
                self._managed[name] = managed_process(description)
                self._processes[name] = self._managed[name].process
        for managed in self._managed.values():
            managed.step(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
        for managed in self._managed.values():
            managed.step(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)

    def restart_gate(self) -> None:
        """As a second mission does."""
        self._managed["safety_gate"].step(Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE)
        self._managed["safety_gate"].step(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)

    def send(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    def ended(self, name: str, within_s: float) -> int:
        return self._processes[name].wait(within_s)

    def spoil(self, drone: int, fault: str, value: float = 0.0) -> None:
        stream = self._processes["peers"].stdin
        assert stream is not None
        stream.write(json.dumps({"drone": drone, "fault": fault, "value": value}) + "\n")
        stream.flush()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(10)

    # What people do and see.

    def call(self, kind: type, name: str) -> object:
        client = self.node.create_client(kind, name)
        self.graph.until(client.service_is_ready, 15, f"service {name}")
        answer = client.call_async(kind.Request())
        self.graph.until(answer.done, 10, f"answer of {name}")
        return answer.result()

    def arm(self) -> None:
        def armed() -> bool:
            self.graph.spin(0.2)
            return self.call(Trigger, "safety_gate/arm").success

        self.graph.until(armed, 30, "a green checklist")

    def until_phase(self, drone: int, phase: str, within_s: float) -> float:
        """How long it took, s."""
        began_s = time.monotonic()
        self.graph.until(lambda: self.phase.get(drone) == phase, within_s, f"drone {drone} in phase {phase}")
        return time.monotonic() - began_s

    def until_flying(self) -> None:
        for k in range(N_DRONES):
            self.until_phase(k, "follow", 20)
        self.graph.spin(0.5)

    def until_down(self, drone: int, within_s: float = DOWN_S) -> None:
        def down() -> bool:
            return not self.vehicle[drone].airborne and not self.vehicle[drone].armed

        self.graph.until(down, within_s + LATE_S, f"drone {drone} on the ground, disarmed")

    def fault_of(self, drone: int) -> str:
        self.graph.until(lambda: any(f.drone == drone for f in self.faults), 5, f"a fault of drone {drone}")
        return next(fault.kind for fault in self.faults if fault.drone == drone)

    def flies_on(self, drone: int, seconds: float = 1.0) -> None:
        self.graph.spin(seconds)
        assert self.phase[drone] == "follow"
        assert self.vehicle[drone].airborne
        assert not any(fault.drone == drone for fault in self.faults)


_PORTS = iter(range(15100, 19000, 20))


@pytest.fixture(params=["mavlink", "cflib"])
def flight(request: pytest.FixtureRequest, graph: Graph, managed_process: Start) -> Iterator[Flight]:
    yield from _flight(graph, request.param, managed_process)


@pytest.fixture
def mavlink_flight(graph: Graph, managed_process: Start) -> Iterator[Flight]:
    yield from _flight(graph, "mavlink", managed_process)


def _flight(graph: Graph, adapter: str, managed_process: Start) -> Iterator[Flight]:
    flight = Flight(graph, adapter, next(_PORTS))
    try:
        flight.start(managed_process)
        yield flight
    finally:
        flight.stop()


@pytest.fixture
def flying(flight: Flight) -> Flight:
    flight.arm()
    flight.until_flying()
    return flight


def test_a_drone_whose_policy_falls_silent_hovers_and_then_lands(flying: Flight) -> None:
    flying.commands[1] = (0.2, 0.0)
    flying.graph.until(lambda: flying.setpoint[1].velocity.x > 0.15, 5, "drone 1 on its way")
    flying.silent.add(1)
    began_s, safety = time.monotonic(), flying.config.safety
    flying.graph.until(lambda: abs(flying.setpoint[1].velocity.x) < 0.05, safety.stale_after_s + LATE_S, "hover")
    assert flying.phase[1] == "follow"
    flying.until_phase(1, "land", safety.land_after_s + LATE_S)
    assert time.monotonic() - began_s >= safety.land_after_s - TICK_S
    assert flying.fault_of(1) == Fault.LANDING
    flying.until_down(1)
    flying.flies_on(0)


def test_a_drone_whose_radio_is_dropped_is_left_to_its_autopilot_and_stays_out(flying: Flight) -> None:
    """One lost drone does not end the flight of the others. PX4 lands by itself, a Crazyflie cuts its motors."""
    flying.spoil(1, "silent")
    flying.until_phase(1, "land", flying.config.flight.link_timeout_s + LATE_S)
    assert flying.fault_of(1) == Fault.LINK
    flying.flies_on(0, 6.0)
    flying.spoil(1, "heard")
    flying.graph.until(lambda: flying.vehicle[1].silent < 0.5, 10, "the link again")
    flying.until_down(1)
    flying.graph.spin(1.0)
    assert not flying.vehicle[1].armed
    assert flying.phase[1] in ("land", "ground")


def test_a_drone_whose_pose_freezes_holds_and_then_lands(flying: Flight) -> None:
    flying.commands[1] = (0.2, 0.0)
    flying.graph.until(lambda: flying.setpoint[1].velocity.x > 0.15, 5, "drone 1 on its way")
    flying.spoil(1, "frozen")
    safety = flying.config.safety
    flying.graph.until(lambda: abs(flying.setpoint[1].velocity.x) < 0.05, safety.stale_after_s + LATE_S, "hover")
    flying.until_phase(1, "land", safety.land_after_s + LATE_S)
    assert flying.fault_of(1) == Fault.POSE
    flying.until_down(1)
    flying.flies_on(0)


def test_a_drone_with_a_low_battery_lands(flying: Flight) -> None:
    flying.spoil(1, "battery", 3.25)
    flying.until_phase(1, "land", 1.0 + LATE_S)
    assert flying.fault_of(1) == Fault.BATTERY
    flying.until_down(1)
    flying.flies_on(0)


def test_a_drone_that_reboots_in_flight_is_not_armed_again(flying: Flight) -> None:
    flying.spoil(1, "reboot")
    flying.graph.until(lambda: flying.phase[1] in ("land", "ground"), 6, "drone 1 out of the mission")
    assert flying.fault_of(1) in (Fault.LINK, Fault.FAILSAFE)
    flying.graph.until(lambda: flying.vehicle[1].silent < 0.5 and flying.vehicle[1].boots > 0, 20, "the link again")
    flying.flies_on(0, 2.0)
    assert not flying.vehicle[1].armed
    flying.until_phase(1, "ground", DOWN_S)


@pytest.mark.parametrize("phase", ["ground", "arm", "take_off", "follow", "land"])
def test_an_emergency_cuts_the_motors_for_good_in_every_phase(mavlink_flight: Flight, phase: str) -> None:
    flight = mavlink_flight
    if phase != "ground":
        flight.arm()
    if phase in ("take_off", "follow", "land"):
        flight.until_phase(1, phase if phase == "take_off" else "follow", 20)
    if phase == "land":
        flight.call(Trigger, "drone_1/land")
        flight.until_phase(1, "land", 2.0)
    flight.call(Empty, "drone_1/emergency")
    flight.until_phase(1, "emergency", 0.5 + LATE_S)
    flight.graph.until(lambda: not flight.vehicle[1].armed, 0.5 + LATE_S, "motors off")
    flight.graph.until(lambda: not flight.vehicle[1].airborne, 3.0, "on the ground")
    assert flight.fault_of(1) in (Fault.EMERGENCY, Fault.TOLD_TO_LAND)
    flight.restart_gate()
    flight.graph.spin(1.0)
    assert flight.phase[1] == "emergency"
    assert not flight.call(Trigger, "safety_gate/arm").success
    assert not flight.vehicle[1].armed


def test_all_are_cut_or_landed_by_one_call(flying: Flight) -> None:
    flying.call(Trigger, "/all/land")
    for k in range(N_DRONES):
        flying.until_phase(k, "land", LATE_S)
    flying.call(Empty, "/all/emergency")
    for k in range(N_DRONES):
        flying.graph.until(lambda k=k: not flying.vehicle[k].armed, 0.5 + LATE_S, "motors off")


def test_drones_land_where_the_gate_has_died(flying: Flight) -> None:
    flying.send("safety_gate", signal.SIGKILL)
    for k in range(N_DRONES):
        flying.until_down(k, flying.config.safety.land_after_s + DOWN_S)


def test_who_ends_the_vehicles_has_them_land_first(mavlink_flight: Flight) -> None:
    flight = mavlink_flight
    flight.arm()
    flight.until_flying()
    flight.send("vehicles", signal.SIGTERM)
    assert flight.ended("vehicles", DOWN_S + 5 * LATE_S) == 0
    seen = MavlinkVehicle(flight.config.place(0).address, (0.0, 0.0, 0.0), 0)
    seen.open()
    try:
        flight.graph.until(lambda: seen.state().heard_s > 0 and seen.state().measured_s > 0, 10, "the drone itself")
        assert not seen.state().airborne
        assert not seen.state().armed
    finally:
        seen.close()


def test_who_ends_the_vehicles_can_still_have_the_motors_cut(flying: Flight) -> None:
    flying.send("vehicles", signal.SIGTERM)
    flying.graph.spin(0.5)
    assert flying.vehicle[1].airborne
    flying.call(Empty, "drone_1/emergency")
    flying.graph.until(lambda: flying.vehicle[1].locked and not flying.vehicle[1].armed, 0.5 + LATE_S, "motors off")
    assert not flying.vehicle[0].locked
    assert flying.ended("vehicles", DOWN_S + 5 * LATE_S) == 0
    flying.graph.spin(0.5)
    assert not flying.vehicle[0].airborne
    assert not flying.vehicle[0].locked


def test_a_red_checklist_does_not_let_drones_arm_and_says_why(mavlink_flight: Flight) -> None:
    flight = mavlink_flight
    flight.graph.until(lambda: len(flight.vehicle) == N_DRONES, 20, "the vehicles")
    flight.spoil(1, "battery", 3.4)
    flight.graph.until(lambda: flight.vehicle[1].battery < 14.0, 10, "the low battery")
    answer = flight.call(Trigger, "safety_gate/arm")
    assert not answer.success
    assert answer.message.startswith("drone 1, battery: 13.6")
    assert flight.phase[0] == flight.phase[1] == "ground"
