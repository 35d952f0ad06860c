"""Crazyflies flown by cflib: against a simulated one in a process of its own, or a real one that SORTIE_CF_URI names.

A real one should stand on the ground in 2 m of free space with a positioning system; it climbs to 0.5 m. What needs
something to go wrong, or ends in a reboot by hand, is left out there.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING

import cflib.crtp
import numpy as np
import pytest
from cflib.crazyflie import Crazyflie
from cflib.crazyflie.log import LogConfig
from cflib.crazyflie.syncLogger import SyncLogger
from cflib.crtp.crtpstack import CRTPPort
from flown_vehicles import ARM, EMERGENCY, GROUND, HOVER, LAND, Drones, fly, fly_for, free_ports, simulated

from sortie_flight import crazyflie_link
from sortie_flight.crazyflie_heard import OnBoardClock
from sortie_flight.crazyflie_link import CrazyflieLink
from sortie_flight.crazyflie_vehicle import CrazyflieVehicle
from sortie_flight.vehicle import Mode, Setpoint, VehicleError, VehicleState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REAL = os.environ.get("SORTIE_CF_URI", "")
HEIGHT_M = 0.5
TAKE_OFF = Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M)
FOLLOW = Setpoint(Mode.FOLLOW, velocity=np.array([0.3, -0.2, 0.0]))


@pytest.fixture
def drone() -> Iterator[Drones]:
    if REAL:
        yield Drones(REAL)
        return
    with simulated("cflib", "udp://127.0.0.1:{port}") as drones:
        yield drones


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are read anew, and nothing is left in the home folder."""
    monkeypatch.setattr(crazyflie_link, "CACHE", tmp_path / "cflib")


@pytest.fixture
def vehicle(drone: Drones) -> Iterator[CrazyflieVehicle]:
    vehicle = _vehicle(drone)
    yield vehicle
    state = vehicle.state()
    if state.airborne and not state.locked and "closed" not in state.mode:
        fly(vehicle, LAND, lambda state: not state.airborne, 15)
    vehicle.close()


def _vehicle(drone: Drones, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> CrazyflieVehicle:
    vehicle = CrazyflieVehicle(drone.address, origin, 0)
    vehicle.open()
    return vehicle


def _connected(vehicle: CrazyflieVehicle) -> VehicleState:
    return fly(vehicle, GROUND, lambda state: state.mode and math.isfinite(state.battery_v) and "no" not in state.mode)


def _armed(vehicle: CrazyflieVehicle) -> VehicleState:
    _connected(vehicle)
    return fly(vehicle, ARM, lambda state: state.armed)


def _in_air(vehicle: CrazyflieVehicle) -> VehicleState:
    _armed(vehicle)
    return fly(vehicle, TAKE_OFF, lambda state: abs(state.position[2] - HEIGHT_M) < 0.1 and state.airborne)


def test_it_connects_within_seconds(vehicle: CrazyflieVehicle):
    assert math.isinf(vehicle.state().heard_s)
    state = _connected(vehicle)
    now_s = time.monotonic()
    assert now_s - 1 < state.measured_s <= now_s and now_s - 1 < state.heard_s <= now_s
    assert 0 <= state.latency_s < 0.5
    assert np.isfinite(state.position).all() and np.linalg.norm(state.attitude) == pytest.approx(1, abs=0.01)
    assert 2.5 < state.battery_v < 4.5
    assert not state.airborne and not state.locked and not state.failsafe and state.boots == 0
    assert vehicle.capabilities.status and vehicle.capabilities.emergency and vehicle.capabilities.velocity


def test_it_arms_takes_off_follows_a_velocity_and_lands(vehicle: CrazyflieVehicle):
    before = _connected(vehicle)
    assert before.armed is not vehicle.capabilities.arm
    up = _in_air(vehicle)
    assert np.linalg.norm(up.position[:2] - before.position[:2]) < 0.3
    start = fly_for(vehicle, FOLLOW, 0.7)
    end = fly_for(vehicle, FOLLOW, 1.5)
    way = (end.position - start.position) / (end.measured_s - start.measured_s)
    assert way == pytest.approx(FOLLOW.velocity, abs=0.12)
    assert end.velocity == pytest.approx(FOLLOW.velocity, abs=0.2)
    down = fly(vehicle, LAND, lambda state: not state.airborne)
    assert down.position[2] < 0.15 and not down.locked and not down.failsafe
    if vehicle.capabilities.arm:
        fly(vehicle, LAND, lambda state: not state.armed)


def test_its_frame_lies_where_the_origin_says(drone: Drones, vehicle: CrazyflieVehicle):
    here = _connected(vehicle).position
    vehicle.close()
    shifted = _vehicle(drone, (1.0, 2.0, 0.3))
    assert _connected(shifted).position == pytest.approx(here + [1.0, 2.0, 0.3], abs=0.1)
    shifted.close()


def test_take_off_holds_its_height_and_can_follow_a_stream(vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    fly_for(vehicle, FOLLOW, 0.5)
    higher = Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M + 0.2)
    fly(vehicle, higher, lambda state: abs(state.position[2] - higher.height_m) < 0.1)
    held = fly_for(vehicle, higher, 3.0)
    assert abs(held.position[2] - higher.height_m) < 0.1 and held.airborne and not held.locked


def _flights_askedfly_for(vehicle: CrazyflieVehicle) -> list[int]:
    """A list that grows with each setpoint and each plan that is sent: a drone that arms itself would obey them."""
    assert vehicle._link is not None
    ports: list[int] = []
    flight = (CRTPPort.COMMANDER, CRTPPort.COMMANDER_GENERIC, CRTPPort.SETPOINT_HL)
    vehicle._link.cf.packet_sent.add_callback(lambda packet: packet.port in flight and ports.append(packet.port))
    return ports


def test_nothing_but_arm_arms(vehicle: CrazyflieVehicle):
    _connected(vehicle)
    sent = _flights_askedfly_for(vehicle)
    for setpoint in (TAKE_OFF, FOLLOW, LAND, GROUND):
        state = fly_for(vehicle, setpoint, 0.7)
        assert not state.airborne and not (state.armed and vehicle.capabilities.arm)
    assert sent == []


def test_it_flies_with_a_tenth_of_the_packets_lost(drone: Drones, vehicle: CrazyflieVehicle):
    drone.spoil("loss", 0.1)
    _in_air(vehicle)
    state = fly_for(vehicle, FOLLOW, 3.0)
    assert 0.7 < state.link < 1.0
    assert state.velocity[:2] == pytest.approx(FOLLOW.velocity[:2], abs=0.2)
    down = fly(vehicle, LAND, lambda state: not state.airborne)
    assert not down.locked
    fly(vehicle, LAND, lambda state: not state.armed)


def test_it_connects_once_it_is_heard(drone: Drones):
    drone.spoil("silent")
    vehicle = _vehicle(drone)
    assert "no link" in fly_for(vehicle, GROUND, 2.0).mode
    drone.spoil("heard")
    _connected(vehicle)
    vehicle.close()


def test_a_short_silence_is_survived_and_a_long_one_cuts_the_motors(drone: Drones, vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    fly_for(vehicle, HOVER, 0.5)
    drone.spoil("silent")
    silent = fly_for(vehicle, HOVER, 1.2)
    assert time.monotonic() - silent.heard_s > 0.5 and time.monotonic() - silent.measured_s > 0.5
    drone.spoil("heard")
    fly(vehicle, HOVER, lambda state: time.monotonic() - state.measured_s < 0.2)
    assert fly_for(vehicle, HOVER, 0.5).airborne
    drone.spoil("silent")
    fly_for(vehicle, HOVER, 3.0)
    drone.spoil("heard")
    state = fly(vehicle, HOVER, lambda state: state.locked)
    assert "locked" in state.failsafe and state.mode == "locked" and not state.armed and state.boots == 0
    assert not fly_for(vehicle, ARM, 1.0).armed


def test_a_reboot_in_flight_is_counted_and_does_not_arm(drone: Drones, vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    fly_for(vehicle, HOVER, 0.5)
    drone.spoil("reboot")
    state = fly(vehicle, HOVER, lambda state: state.boots == 1)
    assert not state.armed
    sent = _flights_askedfly_for(vehicle)
    for setpoint in (FOLLOW, TAKE_OFF, LAND):
        state = fly_for(vehicle, setpoint, 1.0)
        assert not state.armed and not state.airborne
    assert sent == []
    assert state.boots == 1 and time.monotonic() - state.measured_s < 0.5
    fly(vehicle, ARM, lambda state: state.armed)


def test_a_frozen_estimate_is_no_measurement(drone: Drones, vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    drone.spoil("frozen")
    state = fly(vehicle, HOVER, lambda state: time.monotonic() - state.measured_s > 0.6)
    assert time.monotonic() - state.heard_s < 0.3 and state.airborne
    drone.spoil("thawed")
    fly(vehicle, HOVER, lambda state: time.monotonic() - state.measured_s < 0.2)


@pytest.mark.skipif(bool(REAL), reason="a real drone would have to be rebooted by hand")
@pytest.mark.parametrize("mode", list(Mode)[:-1])
def test_an_emergency_cuts_the_motors_in_every_mode_and_lasts(vehicle: CrazyflieVehicle, mode: Mode):
    if mode in (Mode.TAKE_OFF, Mode.FOLLOW, Mode.LAND):
        _in_air(vehicle)
    else:
        _connected(vehicle)
    fly_for(vehicle, Setpoint(mode, height_m=1.5), 0.4)
    start_s = time.monotonic()
    state = fly(vehicle, EMERGENCY, lambda state: state.locked and not state.armed)
    assert time.monotonic() - start_s < 1.0
    assert not state.failsafe
    for setpoint in (ARM, TAKE_OFF, FOLLOW, LAND, GROUND):
        state = fly_for(vehicle, setpoint, 0.3)
        assert state.locked and not state.armed and not state.airborne


def test_an_emergency_is_sent_by_itself_until_it_has_come_through(drone: Drones, vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    drone.spoil("silent")
    fly_for(vehicle, EMERGENCY, 0.2)
    drone.spoil("heard")
    fly(vehicle, None, lambda state: state.locked)


def test_one_that_flies_by_mellinger_is_remarked_and_flown_by_pid(drone: Drones):
    """To Mellinger, a velocity is a place on the ground."""
    with _Plain(drone) as plain:
        before = plain.cf.param.get_value("stabilizer.controller")
        plain.cf.param.set_value("stabilizer.controller", 2)
        time.sleep(0.5)
    vehicle = _vehicle(drone)
    try:
        fly(
            vehicle, GROUND, lambda _: any("controller is 2; it is set to 1" in x for x in vehicle.capabilities.remarks)
        )
        _in_air(vehicle)
        assert not any("controller" in remark for remark in vehicle.capabilities.remarks)
        state = fly_for(vehicle, FOLLOW, 2.0)
        assert abs(state.position[2] - HEIGHT_M) < 0.2
        fly(vehicle, LAND, lambda state: not state.airborne)
    finally:
        vehicle.close()
        with _Plain(drone) as plain:
            plain.cf.param.set_value("stabilizer.controller", int(before))
            time.sleep(0.5)


def test_the_simulated_drone_dives_for_a_velocity_under_mellinger(drone: Drones):
    drone.spoil("loss", 0.0)
    with _Plain(drone) as plain:
        cf = plain.cf
        cf.param.set_value("stabilizer.controller", 2)
        cf.supervisor.send_arming_request(True)
        cf.high_level_commander.takeoff(0.6, 1.0)
        time.sleep(2.0)
        for _ in range(50):
            cf.commander.send_velocity_world_setpoint(0.0, 0.0, 0.0, 0.0)
            time.sleep(0.04)
        assert plain.position()[2] < 0.15


@pytest.mark.parametrize(
    "address",
    [
        "",
        "udp://127.0.0.1",
        "udp://127.0.0.1:99999",
        "udp://no.such.host.invalid:19850",
        "tcp://127.0.0.1:19850",
        "usb://",
    ],
)
def test_a_wrong_address_says_how_it_should_be(address: str):
    with pytest.raises(VehicleError, match=r"flight\.address: .*(udp://host:port|correct the host)") as raised:
        CrazyflieVehicle(address, (0.0, 0.0, 0.0), 0).open()
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(REAL.startswith("radio"), reason="a Crazyradio is plugged in")
def test_without_a_radio_it_says_so():
    with pytest.raises(VehicleError, match=r"radio.*plug one in|usb_permissions"):
        CrazyflieVehicle("radio://0/80/2M/E7E7E7E701", (0.0, 0.0, 0.0), 0).open()


def test_nobody_at_an_address_is_told_and_harmless():
    vehicle = _vehicle(Drones(f"udp://127.0.0.1:{free_ports()}"))
    state = fly_for(vehicle, EMERGENCY, 3.0)
    assert "no link" in state.mode and math.isinf(state.heard_s) and not state.armed
    vehicle.close()
    vehicle.close()


def test_the_battery_is_told(drone: Drones, vehicle: CrazyflieVehicle):
    _connected(vehicle)
    drone.spoil("battery", 3.72)
    fly(vehicle, GROUND, lambda state: state.battery_v == pytest.approx(3.72, abs=0.01))


def test_after_an_orderly_stop_silence_does_not_cut_the_motors(vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    fly_for(vehicle, FOLLOW, 0.7)
    fly_for(vehicle, LAND, 0.8)
    flown = fly_for(vehicle, None, 0.3)
    assert flown.airborne and not flown.locked
    state = fly(vehicle, None, lambda state: not state.airborne)
    assert not state.locked and not state.failsafe and state.position[2] < 0.15
    assert not fly_for(vehicle, None, 3.0).locked


def test_closing_the_link_does_not_drop_it(drone: Drones, vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    vehicle.close()
    time.sleep(2.5)
    second = _vehicle(drone)
    state = _connected(second)
    assert state.airborne and state.position[2] > HEIGHT_M / 2 and not state.locked
    fly(second, LAND, lambda state: not state.airborne)
    second.close()


def test_the_ground_in_the_air_does_not_disarm(vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    state = fly_for(vehicle, GROUND, 1.0)
    assert state.airborne and state.position[2] > HEIGHT_M / 2 and not state.locked


def test_a_velocity_that_is_not_finite_makes_it_hover(vehicle: CrazyflieVehicle):
    _in_air(vehicle)
    state = fly_for(vehicle, Setpoint(Mode.FOLLOW, velocity=np.array([0.0, math.nan, 0.0])), 3.0)
    assert state.airborne and not state.locked and np.linalg.norm(state.velocity) < 0.2


def test_firmware_without_compressed_estimates_is_heard_too(drone: Drones, monkeypatch: pytest.MonkeyPatch):
    connected = CrazyflieLink._on_connected

    def without(self: CrazyflieLink, uri: str) -> None:
        self.cf.log.toc.toc.pop("stateEstimateZ")
        connected(self, uri)

    monkeypatch.setattr(CrazyflieLink, "_on_connected", without)
    vehicle = _vehicle(drone)
    state = _connected(vehicle)
    assert np.isfinite(state.position).all() and abs(state.position[2]) < 0.15
    assert np.linalg.norm(state.attitude) == pytest.approx(1, abs=0.01)
    vehicle.close()


class _Plain:
    """A connection by cflib alone, as it is."""

    def __init__(self, drone: Drones) -> None:
        if not cflib.crtp.CLASSES:
            cflib.crtp.init_drivers()
        self.cf = Crazyflie()
        self._done = threading.Event()
        self.cf.fully_connected.add_callback(lambda _: self._done.set())
        self.cf.open_link(drone.address)

    def __enter__(self) -> _Plain:
        assert self._done.wait(60)
        return self

    def position(self) -> list[float]:
        """Where it is, [3] m."""
        config = LogConfig("position", 100)
        for axis in "xyz":
            config.add_variable(f"stateEstimate.{axis}", "float")
        with SyncLogger(self.cf, config) as logger:
            return list(next(logger)[1].values())

    def __exit__(self, *_: object) -> None:
        self.cf.close_link()
        time.sleep(0.2)


def test_cflib_alone_flies_the_simulated_drone(drone: Drones, vehicle: CrazyflieVehicle):
    drone.spoil("loss", 0.0)
    place = _connected(vehicle).position
    vehicle.close()
    with _Plain(drone) as plain:
        cf = plain.cf
        assert cf.supervisor.can_be_armed and not cf.supervisor.is_armed
        cf.supervisor.send_arming_request(True)
        cf.high_level_commander.takeoff(0.6, 1.0)
        time.sleep(2.0)
        assert cf.supervisor.is_flying and cf.supervisor.hl_control_active
        streams: list[Callable[[], None]] = [
            lambda: cf.commander.send_position_setpoint(*map(float, place[:2] + [0.3, 0.0]), 0.6, 0.0),
            lambda: cf.commander.send_hover_setpoint(0.0, 0.3, 0.0, 0.6),
            lambda: cf.commander.send_full_state_setpoint(
                [*(place[:2] + [0.3, 0.3]), 0.7], [0, 0, 0], [0, 0, 0], [0, 0, 0, 1], 0, 0, 0
            ),
            lambda: cf.commander.send_zdistance_setpoint(0.0, 0.0, 0.0, 0.7),
        ]
        for stream in streams:
            for _ in range(25):
                stream()
                time.sleep(0.04)
        cf.high_level_commander.go_to(*map(float, place[:2]), 0.8, 0.0, 1.5)
        cf.commander.send_notify_setpoint_stop()
        time.sleep(2.5)
        assert plain.position() == pytest.approx([place[0], place[1], 0.8], abs=0.15)
        cf.high_level_commander.land(0.0, 2.0)
        time.sleep(4.0)
        assert not cf.supervisor.is_flying and not cf.supervisor.is_locked


def test_the_clock_of_the_fastest_packet_tells_how_late_the_others_are():
    clock = OnBoardClock()
    assert clock.read(1000, 50.010) == pytest.approx((1.0, 50.010))
    assert clock.read(1020, 50.025) == pytest.approx((1.02, 50.025), abs=1e-4)
    assert clock.read(1040, 50.145) == pytest.approx((1.04, 50.045), abs=1e-4)
    assert clock.read(1030, 50.150) is None
    assert clock.boots == 0


def test_the_clock_turns_over_and_knows_a_reboot_from_a_long_silence():
    clock, turn = OnBoardClock(), 1 << 24
    clock.read(turn - 10, 10.0)
    times = clock.read(10, 10.02)
    assert times is not None and times[1] == pytest.approx(10.02, abs=1e-3) and clock.boots == 0
    clock.reconnect()
    clock.read(60_010, 70.02)
    assert clock.boots == 0
    clock.reconnect()
    clock.read(61_000, 200.0)  # it has told of 60 s, and 130 s have passed
    assert clock.boots == 1
    clock.read(100, 200.5)
    assert clock.boots == 2


@pytest.mark.parametrize("reconnected", [False, True])
def test_the_clock_knows_a_reboot_after_more_than_half_a_turn(reconnected: bool):
    clock = OnBoardClock()
    clock.read(10_800_000, 10.0)
    if reconnected:
        clock.reconnect()
    times = clock.read(3000, 14.0)
    assert clock.boots == 1
    assert times is not None and times[0] == 3.0
