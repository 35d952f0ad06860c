"""The adapter of Crazyswarm2 against simulated Crazyflies behind its interface, in a process of their own."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

try:
    import crazyflie_interfaces.msg  # noqa: F401
except ImportError as error:
    raise pytest.UsageError(f"{error}: run `make test`, which builds and uses the ROS workspace") from error

import rclpy
from crazyflie_interfaces.msg import FullState, Status, VelocityWorld
from crazyflie_interfaces.srv import Arm, Land, NotifySetpointsStop
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.experimental import EventsExecutor
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header, String
from std_srvs.srv import Empty

from sortie_core.config import load
from sortie_core.flight_config import FlightConfig
from sortie_core.layout import sample_layout
from sortie_flight.crazyswarm2_vehicle import Crazyswarm2Vehicle
from sortie_flight.vehicle import Mode, Setpoint, VehicleError, VehicleState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
YAML = PROJECT / "configs" / "flight" / "crazyswarm2.yaml"
ORIGIN = (0.5, -0.25, 0.0)
OVERRIDES = ["team.n_agents=2", f"flight.vehicles={{0: {{origin: [{ORIGIN[0]}, {ORIGIN[1]}, {ORIGIN[2]}]}}}}"]
HEIGHT_M = 0.6
PID = "all.firmware_params.stabilizer.controller:=1"
PATIENCE_S = 20.0
SETPOINT_S = 0.04


class Bench:
    """The adapter's node, beside a safety gate that offers /all/emergency as well, and servers in child processes."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("flight")
        self.gate = rclpy.create_node("safety_gate")
        self.gate.create_service(Empty, "/all/emergency", lambda _, response: response)
        self.executor = EventsExecutor()
        self._nodes = [self.node, self.gate]
        for node in self._nodes:
            self.executor.add_node(node)
        self._fault = self.node.create_publisher(String, "/crazyflie_server/fault", 10)
        self._servers: list[subprocess.Popen[bytes]] = []
        self.vehicles: list[Crazyswarm2Vehicle] = []

    def add(self, name: str) -> Any:
        """One more node of this process."""
        node = rclpy.create_node(name)
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def serve(self, *parameters: str) -> None:
        """Start a server."""
        given = [f"config_file:={YAML}", f"overrides:={json.dumps(OVERRIDES)}", *parameters]
        command = [sys.executable, "-m", "sortie_flight.crazyswarm2_peer_node", "--ros-args"]
        self._servers.append(subprocess.Popen([*command, *(word for each in given for word in ("-p", each))]))

    def vehicle(self, name: str = "cf1", origin: tuple[float, float, float] = ORIGIN) -> Crazyswarm2Vehicle:
        vehicle = Crazyswarm2Vehicle(self.node, name, origin, len(self.vehicles))
        vehicle.open()
        self.vehicles.append(vehicle)
        return vehicle

    def spoil(self, fault: str, **order: float) -> None:
        self._fault.publish(String(data=json.dumps({"drone": 0, "fault": fault} | order)))

    def spin(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while (rest_s := deadline_s - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=min(rest_s, 0.02))

    def until(
        self, condition: Callable[[], Any], what: str, tell: dict[Crazyswarm2Vehicle, Setpoint] | None = None
    ) -> None:
        """Tell vehicles what to do, as often as the gate does, until a condition holds."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert not any(server.poll() for server in self._servers), "a server has ended, see its output"
            states = [vehicle.state() for vehicle in self.vehicles]
            assert time.monotonic() < deadline_s, f"not within {PATIENCE_S} s: {what}; {states}"
            for vehicle, setpoint in (tell or {}).items():
                vehicle.command(setpoint)
            self.spin(SETPOINT_S)

    def during(self, seconds: float, vehicle: Crazyswarm2Vehicle, setpoint: Setpoint) -> list[VehicleState]:
        """Tell a vehicle what to do for a while; what was known of it meanwhile."""
        seen, deadline_s = [], time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            vehicle.command(setpoint)
            self.spin(SETPOINT_S)
            seen.append(vehicle.state())
        return seen

    def ready(self, *parameters: str) -> Crazyswarm2Vehicle:
        """A server, and a vehicle that has heard of it all there is."""
        self.serve(*parameters)
        vehicle = self.vehicle()
        reduced = "reduced:=true" in parameters
        self.until(lambda: math.isfinite(vehicle.state().measured_s), "a pose")
        self.until(lambda: reduced or math.isfinite(vehicle.state().battery_v), "a status")
        self.until(lambda: PID not in parameters or vehicle.capabilities.velocity, "the controller")
        return vehicle

    def lift(self, vehicle: Crazyswarm2Vehicle) -> None:
        """Up to `HEIGHT_M`, armed where that can be."""
        if vehicle.capabilities.arm:
            self.until(lambda: vehicle.state().armed, "armed", {vehicle: Setpoint(Mode.ARM)})
        up = {vehicle: Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M)}
        self.until(lambda: vehicle.state().position[2] > HEIGHT_M - 0.1, "up", up)

    def close(self) -> list[int]:
        """Stop everything; the servers' exit codes."""
        for vehicle in self.vehicles:
            vehicle.close()
            vehicle.close()
        for node in self._nodes:
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
        return [server.wait(20) for server in self._servers]


@pytest.fixture
def bench(domain: int) -> Iterator[Bench]:
    rclpy.init(domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    bench = Bench()
    yield bench
    codes = bench.close()
    rclpy.try_shutdown()
    assert not any(codes)


def follow(x: float, y: float, z: float = 0.0) -> Setpoint:
    return Setpoint(Mode.FOLLOW, np.array([x, y, z]))


class FakeServer:
    """What a server could say and would hear, in the hands of the test."""

    def __init__(self, bench: Bench, ready: bool = True) -> None:
        self.node = bench.add("crazyflie_server")
        self.called: list[str] = []
        self.streamed = 0
        for kind, name in ((Empty, "emergency"), (Land, "land"), (NotifySetpointsStop, "notify_setpoints_stop")):
            self.node.create_service(kind, f"cf1/{name}", partial(self._on_service, name))
        self.node.create_service(Arm, "cf1/arm", lambda request, response: self._on_service(
            "arm" if request.arm else "disarm", request, response))  # fmt: skip
        for kind, name in ((FullState, "cmd_full_state"), (VelocityWorld, "cmd_velocity_world")):
            self.node.create_subscription(kind, f"cf1/{name}", self._on_setpoint, 10)
        self._pose = self.node.create_publisher(PoseStamped, "cf1/pose", 10)
        self._status = self.node.create_publisher(Status, "cf1/status", 10)
        if ready:
            self.finish()

    def finish(self) -> None:
        """Make the last service."""
        self.node.create_service(Empty, "all/emergency", lambda _, response: response)

    def tell(self, height_m: float, supervisor: int | None = None) -> None:
        """Publish a pose, and a status with these bits."""
        header = Header(stamp=self.node.get_clock().now().to_msg())
        pose = PoseStamped(header=header)
        pose.pose.position.x, pose.pose.position.z = random.gauss(0.0, 0.001), height_m
        self._pose.publish(pose)
        if supervisor is not None:
            self._status.publish(Status(header=header, supervisor_info=supervisor, battery_voltage=4.0))

    def _on_service(self, name: str, _: object, response: Any) -> Any:
        self.called.append(name)
        return response

    def _on_setpoint(self, _: object) -> None:
        self.streamed += 1


ARMED, ALONE, FLIES = Status.SUPERVISOR_INFO_IS_ARMED, Status.SUPERVISOR_INFO_AUTO_ARM, Status.SUPERVISOR_INFO_IS_FLYING


def test_it_is_ready_with_the_last_service_of_the_server_and_no_other_nodes(bench: Bench) -> None:
    server = FakeServer(bench, ready=False)
    vehicle = bench.vehicle()
    client = bench.node.create_client(Empty, "/all/emergency")
    bench.until(client.service_is_ready, "the gate's emergency")
    server.tell(0.0, 0)
    states = bench.during(2.0, vehicle, Setpoint(Mode.ARM))
    assert not vehicle.ready
    assert all(state.heard_s == -math.inf for state in states)
    assert server.called == []
    server.finish()
    bench.until(lambda: "arm" in server.called, "armed", {vehicle: Setpoint(Mode.ARM)})
    assert vehicle.ready
    assert vehicle.capabilities.arm and vehicle.capabilities.emergency


def test_an_emergency_waits_for_nothing_and_is_never_over(bench: Bench) -> None:
    server = FakeServer(bench, ready=False)
    vehicle = bench.vehicle()
    bench.until(lambda: len(server.called) > 2, "more than one call", {vehicle: Setpoint(Mode.EMERGENCY)})
    assert not vehicle.ready
    server.finish()
    bench.until(lambda: vehicle.ready, "the server")
    for mode in (Mode.ARM, Mode.TAKE_OFF, Mode.LAND, Mode.GROUND):  # of a drone that tells of no lock
        server.tell(0.0, Status.SUPERVISOR_INFO_CAN_BE_ARMED)
        bench.during(0.6, vehicle, Setpoint(mode, height_m=HEIGHT_M))
    assert set(server.called) == {"emergency"}
    assert vehicle.state().locked


def test_one_that_arms_itself_is_not_flown_on_after_a_reboot(bench: Bench) -> None:
    server = FakeServer(bench)
    vehicle = bench.vehicle()

    def streams(bits: int, setpoint: Setpoint, seconds: float = 0.5) -> bool:
        server.tell(1.0, bits)
        bench.during(0.5, vehicle, setpoint)
        before, deadline_s = server.streamed, time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            server.tell(1.0, bits)
            bench.during(0.1, vehicle, setpoint)
        return server.streamed > before

    bench.until(lambda: streams(ARMED | ALONE | FLIES, follow(0.1, 0.0)), "setpoints")
    assert not streams(ALONE, follow(0.1, 0.0))
    assert not streams(ARMED | ALONE, follow(0.1, 0.0))
    assert vehicle.state().boots == 1
    assert "takeoff" not in server.called and "arm" not in server.called
    assert not vehicle.capabilities.arm
    assert "arms by itself" in vehicle.capabilities.remarks[-1]


def test_it_is_disarmed_only_where_it_is_known_to_stand(bench: Bench) -> None:
    """Since that would stop its motors in the air, too."""
    server = FakeServer(bench)
    vehicle = bench.vehicle()
    bench.until(lambda: math.isfinite(vehicle.state().battery_v) or server.tell(1.0, ARMED | FLIES), "a status")
    bench.during(2.5, vehicle, Setpoint(Mode.LAND))  # silent long enough for nothing to be known any more
    server.called.clear()
    bench.during(1.5, vehicle, Setpoint(Mode.LAND))
    bench.during(0.5, vehicle, Setpoint(Mode.GROUND))
    assert set(server.called) == {"land"}
    for bits, called in ((ARMED | FLIES, False), (ARMED | ALONE, False), (ARMED, True)):
        server.called.clear()
        for _ in range(4):
            server.tell(0.02, bits)
            bench.during(0.5, vehicle, Setpoint(Mode.LAND))
        assert ("disarm" in server.called) == called, bits
        assert "land" not in server.called[1:], "one that has landed would start its motors again"


def test_one_that_came_down_on_a_box_does_not_start_its_motors_again_and_again(bench: Bench) -> None:
    server = FakeServer(bench)
    vehicle = bench.vehicle()

    def lands(seconds: float, setpoint: Setpoint) -> bool:
        server.called.clear()
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            server.tell(0.15, ARMED | FLIES)
            bench.during(0.1, vehicle, setpoint)
        return "land" in server.called

    bench.until(lambda: lands(0.5, Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M)) or vehicle.ready, "the server")
    assert lands(2.0, Setpoint(Mode.LAND))
    lands(2.5, Setpoint(Mode.LAND))
    assert not lands(2.0, Setpoint(Mode.LAND))


def test_what_the_drone_had_before_it_was_set_up_is_no_word_on_its_controller(bench: Bench) -> None:
    server = FakeServer(bench)
    server.node.declare_parameter("cf1.params.stabilizer.controller", 1)
    vehicle = bench.vehicle()
    bench.until(lambda: vehicle.ready, "the server", {vehicle: Setpoint(Mode.GROUND)})
    bench.during(2.0, vehicle, Setpoint(Mode.GROUND))
    assert not vehicle.capabilities.velocity
    assert "stabilizer.controller cannot be read" in " ".join(vehicle.capabilities.remarks)


def test_what_is_wrong_with_an_address_is_one_line(bench: Bench) -> None:
    with pytest.raises(VehicleError, match=r"address: 'radio://0' is no name.*crazyflies\.yaml"):
        Crazyswarm2Vehicle(bench.node, "radio://0", ORIGIN, 0).open()


@pytest.mark.parametrize(
    ("parameters", "velocity"),
    [((PID,), True), ((), False), (("reduced:=true",), False), (("odom_hz:=50", "pose_hz:=0"), False)],
    ids=["pid", "mellinger", "reduced", "odometry"],
)
def test_it_arms_takes_off_follows_and_lands(bench: Bench, parameters: tuple[str, ...], velocity: bool) -> None:
    reduced = "reduced:=true" in parameters
    vehicle = bench.ready(*parameters)
    kinds = {"cmd_velocity_world": VelocityWorld, "cmd_full_state": FullState}
    sent = dict.fromkeys(kinds, 0)
    for topic, kind in kinds.items():
        bench.node.create_subscription(kind, f"/cf1/{topic}", lambda _, t=topic: sent.update({t: sent[t] + 1}), 10)

    start = vehicle.state()
    config = load(FlightConfig, YAML, OVERRIDES)
    np.testing.assert_allclose(start.position[:2], sample_layout(config, [config.seed]).position[0, 0, :2], atol=0.02)
    assert not (start.armed or start.airborne or start.locked)
    assert vehicle.capabilities.arm is vehicle.capabilities.status is vehicle.capabilities.emergency is not reduced

    bench.lift(vehicle)
    up = vehicle.state()
    assert up.armed and up.airborne
    assert np.linalg.norm((up.position - start.position)[:2]) < 0.1
    bench.until(lambda: vehicle.state().position[0] > up.position[0] + 0.5, "east", {vehicle: follow(0.5, 0.0)})
    east = vehicle.state()
    assert abs(east.position[1] - up.position[1]) < 0.2
    assert abs(east.position[2] - HEIGHT_M) < 0.2
    np.testing.assert_allclose(east.velocity, [0.5, 0.0, 0.0], atol=0.25)
    assert 0 <= east.latency_s < 0.5
    assert abs(time.monotonic() - east.measured_s) < 0.5
    bench.until(lambda: vehicle.state().position[1] < up.position[1] - 0.4, "south", {vehicle: follow(0.0, -0.5)})
    assert (sent["cmd_velocity_world"] > 0, sent["cmd_full_state"] > 0) == (velocity, not velocity)
    assert vehicle.capabilities.velocity is velocity

    down = {vehicle: Setpoint(Mode.LAND)}
    bench.until(lambda: not (vehicle.state().airborne or vehicle.state().armed), "down and disarmed", down)
    assert vehicle.state().position[2] < 0.1
    assert np.linalg.norm((vehicle.state().position - east.position)[:2]) < 1.5
    assert not vehicle.state().locked
    assert vehicle.state().boots == 0


def test_two_drones_fly_at_once(bench: Bench) -> None:
    one = bench.ready()
    two = bench.vehicle("cf2", (0.0, 0.0, 0.0))
    bench.until(lambda: math.isfinite(two.state().battery_v), "the other's status")
    bench.lift(one)
    assert not (two.state().armed or two.state().airborne)
    hover = {one: follow(0.0, 0.0)}
    bench.until(lambda: two.state().armed, "armed", hover | {two: Setpoint(Mode.ARM)})
    both = hover | {two: Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M)}
    bench.until(lambda: two.state().position[2] > HEIGHT_M - 0.1, "both up", both)
    assert one.state().position[2] > HEIGHT_M - 0.2
    both = dict.fromkeys((one, two), Setpoint(Mode.LAND))
    bench.until(lambda: not (one.state().armed or two.state().armed), "both down", both)


@pytest.mark.parametrize("mode", [Mode.GROUND, Mode.ARM, Mode.TAKE_OFF, Mode.FOLLOW, Mode.LAND])
def test_an_emergency_cuts_at_once_and_stays(bench: Bench, mode: Mode) -> None:
    vehicle = bench.ready()
    if mode is not Mode.GROUND:
        bench.until(lambda: vehicle.state().armed, "armed", {vehicle: Setpoint(Mode.ARM)})
    if mode not in (Mode.GROUND, Mode.ARM):
        up = {vehicle: Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M)}
        bench.until(lambda: vehicle.state().position[2] > HEIGHT_M / 2, "in the air", up)
    if mode in (Mode.FOLLOW, Mode.LAND):
        bench.during(0.5, vehicle, follow(0.2, 0.0))
    if mode is Mode.LAND:
        bench.during(0.2, vehicle, Setpoint(Mode.LAND))
    vehicle.command(Setpoint(Mode.EMERGENCY))
    assert vehicle.state().locked
    # What is told afterwards changes nothing.
    fall = {vehicle: Setpoint(mode, height_m=HEIGHT_M)}
    bench.until(lambda: vehicle.state().position[2] < 0.1, "on the ground", fall)
    bench.until(lambda: vehicle.state().mode == "locked" and not vehicle.state().armed, "locked", fall)
    for later in (Setpoint(Mode.ARM), Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M), follow(0.5, 0.0)):
        states = bench.during(0.6, vehicle, later)
        assert all(state.locked and not state.armed and state.position[2] < 0.1 for state in states)


def test_where_emergency_does_nothing_it_lands(bench: Bench) -> None:
    vehicle = bench.ready("reduced:=true")
    bench.lift(vehicle)
    bench.during(0.5, vehicle, follow(0.2, 0.0))
    assert not vehicle.capabilities.emergency
    told = {vehicle: Setpoint(Mode.EMERGENCY)}
    bench.until(lambda: not vehicle.state().airborne and not vehicle.state().armed, "on the ground", told)
    assert vehicle.state().locked


def test_silence_shows_and_ends_as_the_firmware_has_it(bench: Bench) -> None:
    vehicle = bench.ready()
    bench.lift(vehicle)
    bench.during(1.0, vehicle, follow(0.1, 0.0))
    bench.spoil("silent")
    bench.until(lambda: time.monotonic() - vehicle.state().heard_s > 1.0, "silence", {vehicle: follow(0.1, 0.0)})
    silent = vehicle.state()
    assert silent.measured_s <= silent.heard_s
    bench.during(3.0, vehicle, follow(0.1, 0.0))
    assert vehicle.state().measured_s == silent.measured_s
    bench.spoil("heard")
    bench.until(lambda: vehicle.state().locked, "locked after its motors were cut", {vehicle: follow(0.1, 0.0)})
    assert vehicle.state().position[2] < 0.1
    assert vehicle.state().failsafe == "locked"
    assert vehicle.state().boots == 0


def test_a_drone_that_reboots_in_flight_is_not_armed_again(bench: Bench) -> None:
    vehicle = bench.ready()
    bench.lift(vehicle)
    bench.during(1.5, vehicle, follow(0.1, 0.0))
    bench.spoil("reboot")
    bench.until(lambda: vehicle.state().boots == 1, "a reboot", {vehicle: follow(0.1, 0.0)})
    for setpoint in (follow(0.1, 0.0), Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M), Setpoint(Mode.LAND)):
        states = bench.during(1.5, vehicle, setpoint)
        assert not any(state.armed for state in states)
    assert vehicle.state().position[2] < 0.1
    assert not vehicle.state().locked
    bench.until(lambda: vehicle.state().armed, "armed by order", {vehicle: Setpoint(Mode.ARM)})


def test_a_pose_that_stands_still_in_the_air_is_an_old_one(bench: Bench) -> None:
    vehicle = bench.ready()
    bench.lift(vehicle)
    bench.during(0.5, vehicle, follow(0.3, 0.0))
    bench.spoil("frozen")
    bench.until(lambda: time.monotonic() - vehicle.state().measured_s > 2.0, "old", {vehicle: follow(0.3, 0.0)})
    assert time.monotonic() - vehicle.state().heard_s < 1.0
    bench.spoil("thawed")
    bench.until(lambda: time.monotonic() - vehicle.state().measured_s < 0.5, "new", {vehicle: follow(0.0, 0.0)})


def test_battery_and_link_are_told(bench: Bench) -> None:
    vehicle = bench.ready()
    state = vehicle.state()
    assert 4.0 < state.battery_v < 4.3
    assert state.link == 1.0
    assert state.mode == "ready"
    bench.spoil("battery", value=3.65)
    bench.until(lambda: vehicle.state().battery_v < 3.7, "the battery")
    bench.spoil("loss", value=0.5)
    bench.until(lambda: vehicle.state().link == 0.5, "the loss")


def test_remarks_tell_what_people_should_know(bench: Bench) -> None:
    vehicle = bench.ready("all.firmware_params.colAv.enable:=1")
    bench.until(lambda: "issue 628" in " ".join(vehicle.capabilities.remarks), "the remark on collisions")
    assert "Mellinger follows no velocities" in " ".join(vehicle.capabilities.remarks)


def test_the_simulations_server_is_remarked(bench: Bench) -> None:
    bench.serve("reduced:=true", "pose_hz:=0")
    vehicle = bench.vehicle()
    bench.until(lambda: vehicle.state() and vehicle.ready, "the server")
    remarks = "\n".join(vehicle.capabilities.remarks)
    for text in ("emergency does nothing", "no topic status", "told as TF only"):
        assert text in remarks
    assert not np.isfinite(vehicle.state().position).any()

    # The simulation's stamps count from its start.
    transform = TransformStamped(child_frame_id="cf1")
    transform.header.stamp.sec = 3
    transform.transform.translation.x = 1.0
    other = TransformStamped(child_frame_id="cf2")
    vehicle._heard.on_transforms(SimpleNamespace(transforms=[transform, other]))
    state = vehicle.state()
    np.testing.assert_allclose(state.position, np.array([1.0, 0.0, 0.0]) + ORIGIN)
    assert math.isnan(state.latency_s)
    assert abs(time.monotonic() - state.measured_s) < 0.5


def test_interfaces_that_are_installed_are_not_built_over(tmp_path: Path) -> None:
    script = PROJECT / "ros2_ws" / "build_workspace.py"
    spec = importlib.util.spec_from_file_location("build_workspace", script)
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = "crazyflie_interfaces"
    assert name in module.package_digests(module.installed_elsewhere({}))
    manifest = tmp_path / "share" / name / "package.xml"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    left_out = module.installed_elsewhere({"AMENT_PREFIX_PATH": os.pathsep.join(["/nowhere", str(tmp_path)])})
    assert left_out == [name]
    assert name not in module.package_digests(left_out)
