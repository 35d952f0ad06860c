"""The MAVLink adapter against simulated autopilots in another process, or the real one that SORTIE_MAVLINK_URL names.

A real one has the system id 1, stands on the ground with room above it, and flies up to 2 m high and 5 m to the east.
"""

from __future__ import annotations

import math
import os
import random
import socket
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest
from flown_vehicles import ARM, EMERGENCY, GROUND, HOVER, LAND, Drones, fly, fly_for, simulated
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_flight.mavlink_vehicle import MavlinkVehicle
from sortie_flight.vehicle import Mode, Setpoint, VehicleState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

URL = os.environ.get("SORTIE_MAVLINK_URL")
HEIGHT_M = 1.0
TAKE_OFF = Setpoint(Mode.TAKE_OFF, height_m=HEIGHT_M)
EAST = Setpoint(Mode.FOLLOW, np.array([0.5, 0.0, 0.0]))


class Rig:
    """One vehicle and what it is tried on."""

    def __init__(self, drones: Drones) -> None:
        self.drones, self.spoil = drones, drones.spoil
        self.vehicle = MavlinkVehicle(drones.address, (0.0, 0.0, 0.0), 0)

    def fly(
        self, setpoint: Setpoint | None, until: Callable[[VehicleState], bool], timeout_s: float = 40.0
    ) -> VehicleState:
        return fly(self.vehicle, setpoint, until, timeout_s)

    def fly_for(self, setpoint: Setpoint, duration_s: float) -> VehicleState:
        return fly_for(self.vehicle, setpoint, duration_s)

    def climb(self) -> VehicleState:
        """Arm and take off; the state up there."""
        ground = self.fly(GROUND, lambda state: np.isfinite(state.position).all() and bool(state.mode))
        self.fly(ARM, lambda state: state.armed)
        top_m = ground.position[2] + HEIGHT_M
        return self.fly(TAKE_OFF, lambda state: state.airborne and abs(state.position[2] - top_m) < 0.15)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with nullcontext(Drones(URL)) if URL else simulated("mavlink", "udpin:127.0.0.1:{port}") as drones:
        rig = Rig(drones)
        rig.vehicle.open()
        try:
            yield rig
            if URL:
                rig.fly(LAND, lambda state: not state.armed, timeout_s=60)
        finally:
            rig.vehicle.close()


# Flights.


def test_a_flight_from_the_ground_and_back(rig: Rig):
    """Arm, take off, follow a velocity to the east and one to the north, land; twice."""
    for direction in (np.array([0.5, 0.0, 0.0]), np.array([0.0, 0.5, 0.0])):
        start = rig.climb()
        state = rig.fly_for(Setpoint(Mode.FOLLOW, direction), 3.0)
        assert state.mode in ("OFFBOARD", "GUIDED") and not state.failsafe
        travelled = state.position - start.position
        assert travelled @ direction / 0.5 > 0.8
        assert np.linalg.norm(travelled - (travelled @ direction) * direction / 0.25) < 0.3
        np.testing.assert_allclose(state.velocity, direction, atol=0.2)
        down = rig.fly(LAND, lambda state: not state.armed, timeout_s=60)
        assert not down.airborne and not down.locked and not down.failsafe


def test_the_state_of_an_idle_vehicle(rig: Rig):
    state = rig.fly(GROUND, lambda state: state.battery_v > 0 and state.latency_s >= 0)
    assert state.measured_s <= time.monotonic() and time.monotonic() - state.measured_s < 1
    assert not state.armed and not state.airborne and not state.locked and state.boots == 0
    assert np.linalg.norm(state.attitude) == pytest.approx(1)
    assert rig.vehicle.capabilities.remarks
    if URL is None:
        assert state.battery_v == pytest.approx(4 * 4.15, abs=0.1) and state.mode == "LOITER"


def test_poses_come_often_and_their_latency_is_measured(rig: Rig):
    rig.fly(GROUND, lambda state: state.latency_s >= 0)
    times: set[float] = set()

    def enough(state: VehicleState) -> bool:
        times.add(state.measured_s)
        return len(times) > 50

    rig.fly(GROUND, enough, timeout_s=10)  # at 25 Hz, hence nearly every time
    assert rig.fly(GROUND, lambda state: state.link > 0.9).latency_s < 0.25


def test_only_arm_arms(rig: Rig):
    rig.fly(GROUND, lambda state: bool(state.mode))
    for setpoint in (GROUND, TAKE_OFF, HOVER, LAND):
        assert not rig.fly_for(setpoint, 1.5).armed
    rig.fly(ARM, lambda state: state.armed)
    rig.fly(GROUND, lambda state: not state.armed)


def test_an_armed_vehicle_that_is_told_to_land_disarms(rig: Rig):
    rig.fly(GROUND, lambda state: bool(state.mode))
    rig.fly(ARM, lambda state: state.armed)
    rig.fly(LAND, lambda state: not state.armed)


def test_the_origin_of_its_local_frame_is_where_it_is_said_to_be(rig: Rig):
    seen = rig.fly(GROUND, lambda state: np.isfinite(state.position).all()).position
    rig.vehicle.close()
    origin = np.array([10.0, -20.0, 3.0])
    rig.vehicle = MavlinkVehicle(rig.drones.address, tuple(origin), 0)
    rig.vehicle.open()
    start = rig.fly(GROUND, lambda state: np.isfinite(state.position).all() and bool(state.mode)).position
    np.testing.assert_allclose(start, seen + origin, atol=0.5 if URL else 0.02)
    top = rig.climb().position
    np.testing.assert_allclose(top[:2], start[:2], atol=0.3)
    rig.fly(LAND, lambda state: not state.armed, timeout_s=60)


# Faults.


def test_a_third_of_the_packets_is_lost(rig: Rig):
    rig.spoil("loss", 0.3)
    start = rig.climb()
    state = rig.fly_for(EAST, 3.0)
    assert state.position[0] - start.position[0] > 0.8 and not state.failsafe
    assert 0.5 < state.link < 0.9
    rig.fly(LAND, lambda state: not state.armed)


def test_silence(rig: Rig):
    """It lands by itself; what it did meanwhile is seen afterwards, and it is not made to fly on."""
    rig.climb()
    rig.fly(HOVER, lambda state: state.mode == "OFFBOARD")
    rig.spoil("silent")
    state = rig.fly(HOVER, lambda state: time.monotonic() - state.heard_s > 2.5)
    assert state.link == 0 and time.monotonic() - state.measured_s > 2
    rig.spoil("heard")
    state = rig.fly(EAST, lambda state: bool(state.failsafe))
    assert state.mode == "LAND"
    state = rig.fly(EAST, lambda state: not state.armed)
    assert not state.airborne and "OFFBOARD" in state.failsafe
    assert not rig.fly_for(EAST, 1.0).armed
    rig.climb()
    rig.fly(LAND, lambda state: not state.armed)


def test_setpoints_that_stop(rig: Rig):
    """As silence, but the state is seen all along."""
    if URL:
        pytest.skip("ArduPilot hovers; what PX4 does is a matter of its parameters")
    rig.climb()
    rig.fly_for(HOVER, 1.0)
    state = rig.fly(None, lambda state: state.mode == "LAND")
    assert state.armed and "critical" in state.failsafe and "setpoints lost" in state.failsafe
    rig.fly(None, lambda state: not state.armed and not state.airborne)


def test_a_reboot_in_flight(rig: Rig):
    rig.climb()
    rig.fly_for(HOVER, 1.0)
    rig.spoil("reboot")
    state = rig.fly(HOVER, lambda state: state.boots == 1 and not state.armed)
    assert "rebooted" in state.failsafe
    for setpoint in (HOVER, TAKE_OFF, LAND):
        state = rig.fly_for(setpoint, 1.5)
        assert not state.armed and state.boots == 1
    assert np.isfinite(state.position).all() and time.monotonic() - state.measured_s < 1
    rig.fly(GROUND, lambda state: state.link > 0.9 and not state.failsafe)


def test_an_estimate_that_stands_still(rig: Rig):
    """A flying drone is never twice at the same place to the last bit: such a pose is old, whatever its stamp."""
    rig.climb()
    rig.spoil("frozen")
    state = rig.fly(HOVER, lambda state: time.monotonic() - state.measured_s > 1)
    assert time.monotonic() - state.heard_s < 0.5
    later = rig.fly_for(HOVER, 0.5)
    assert later.measured_s == state.measured_s
    np.testing.assert_array_equal(later.position, state.position)
    rig.spoil("thawed")
    rig.fly(HOVER, lambda state: time.monotonic() - state.measured_s < 0.2)
    rig.fly(LAND, lambda state: not state.armed)


@pytest.mark.parametrize("mode", [Mode.GROUND, Mode.ARM, Mode.TAKE_OFF, Mode.FOLLOW, Mode.LAND])
def test_an_emergency(rig: Rig, mode: Mode):
    if URL:
        pytest.skip("a real drone would fall")
    rig.fly(GROUND, lambda state: bool(state.mode))
    if mode is Mode.ARM:
        rig.fly(ARM, lambda state: state.armed)
    elif mode is Mode.TAKE_OFF:
        rig.fly(ARM, lambda state: state.armed)
        rig.fly(TAKE_OFF, lambda state: state.airborne)
    elif mode is not Mode.GROUND:
        rig.climb()
        rig.fly_for(Setpoint(mode), 0.7)
    rig.spoil("loss", 0.3)
    rig.vehicle.command(EMERGENCY)
    assert rig.vehicle.state().locked
    rig.fly(EMERGENCY, lambda state: state.mode != "" and not state.armed, timeout_s=10)
    rig.fly(ARM, lambda state: not state.airborne)  # it stays so, whatever is asked
    assert not rig.fly_for(ARM, 1.5).armed
    rig.spoil("reboot")
    state = rig.fly(ARM, lambda state: state.boots == 1)
    assert not rig.fly_for(ARM, 1.5).armed and state.locked


def test_rubbish_and_strangers_on_the_link(rig: Rig):
    """Neither hurts: no bytes, no pieces of packets and no other vehicle's state."""
    if not rig.drones.address.startswith("udpin:"):
        pytest.skip("nobody else can send to this address")
    host, port = rig.drones.address.removeprefix("udpin:").split(":")
    rig.fly(GROUND, lambda state: state.battery_v > 0)
    luck = random.Random(5)
    stranger = mavlink.MAVLink(None, srcSystem=77, srcComponent=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for number in range(400):
            beat = mavlink.MAVLink_heartbeat_message(2, 12, 0x80, 6 << 16, 5, 3).pack(stranger)
            place = mavlink.MAVLink_local_position_ned_message(2**32 - 1, 9, 9, 9, 0, 0, 0).pack(stranger)
            noise = bytes([0xFD]) + luck.randbytes(luck.randrange(60))
            cut = beat[: luck.randrange(len(beat))]
            for data in (beat, place, noise, cut, luck.randbytes(30)):
                other.sendto(data, (host, int(port)))
            if number % 10 == 0:
                state = rig.fly_for(GROUND, 0.02)
                assert not state.armed and not state.failsafe and state.boots == 0
                assert np.isfinite(state.position).all() and np.isfinite(state.attitude).all()
                assert np.linalg.norm(state.position) < 12
    rig.fly(ARM, lambda state: state.armed)
    rig.fly(GROUND, lambda state: not state.armed)


def test_a_vehicle_with_another_number_is_not_taken_for_this_one(rig: Rig):
    rig.vehicle.close()
    rig.vehicle = MavlinkVehicle(rig.drones.address, (0.0, 0.0, 0.0), 6)
    rig.vehicle.open()
    rig.fly(ARM, lambda _: any("system 1 is heard, not 7" in line for line in rig.vehicle.capabilities.remarks))
    state = rig.fly_for(ARM, 1.0)
    assert not state.armed and not state.mode and state.heard_s == -math.inf
