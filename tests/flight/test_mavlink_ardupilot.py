"""The MAVLink adapter against as much of an ArduPilot as shows what it is sent."""

from __future__ import annotations

import math
import socket
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from flown_vehicles import ARM, EMERGENCY, GROUND, LAND, fly, fly_for
from pymavlink.dialects.v20 import ardupilotmega as mavlink
from pymavlink.mavutil import mode_mapping_acm

from sortie_flight.mavlink_vehicle import MavlinkVehicle
from sortie_flight.vehicle import Mode, Setpoint, VehicleState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TAKE_OFF = Setpoint(Mode.TAKE_OFF, height_m=1.5)
EAST = Setpoint(Mode.FOLLOW, np.array([0.5, 0.0, 0.0]))


class Copter:
    """As much of an ArduPilot as shows what it is sent; moves at once, and does not disarm by itself."""

    def __init__(self) -> None:
        self.mode, self.armed, self.critical, self.height_m = "STABILIZE", False, False, 0.0
        self.velocity, self.heading = (0.0, 0.0, 0.0), math.nan
        self._station: tuple[str, int] | None = None
        self._started_s = time.monotonic()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.vehicle = MavlinkVehicle(f"udpout:127.0.0.1:{self._socket.getsockname()[1]}", (0.0, 0.0, 0.0), 0)
        self.vehicle.open()
        self._codec = mavlink.MAVLink(None, srcSystem=1, srcComponent=1)

    def step(self) -> None:
        now_ms = int(1e3 * (time.monotonic() - self._started_s))
        landed = 1 if self.height_m == 0 else 2
        numbers = {name: number for number, name in mode_mapping_acm.items()}
        flags, status = 1 | 128 * self.armed, 5 if self.critical else 4 if self.armed else 3
        for message in (
            mavlink.MAVLink_heartbeat_message(2, 3, flags, numbers[self.mode], status, 3),
            mavlink.MAVLink_attitude_quaternion_message(now_ms, 1, 0, 0, 0, 0, 0, 0),
            mavlink.MAVLink_local_position_ned_message(now_ms, 1e-6 * now_ms, 0, -self.height_m, 0, 0, 0),
            mavlink.MAVLink_extended_sys_state_message(0, landed),
        ):
            if self._station:
                self._socket.sendto(message.pack(self._codec), self._station)
            self._codec.seq = (self._codec.seq + 1) % 256
        while True:
            try:
                data, self._station = self._socket.recvfrom(4096)
            except BlockingIOError:
                return
            for message in self._codec.parse_buffer(data) or ():
                self._obey(message)

    def _obey(self, message: mavlink.MAVLink_message) -> None:
        if message.get_type() == "SET_POSITION_TARGET_LOCAL_NED" and self.mode == "GUIDED":
            assert message.type_mask == 0b100111000111 and message.coordinate_frame == 1
            self.velocity, self.heading = (message.vx, message.vy, message.vz), message.yaw
        if message.get_type() != "COMMAND_LONG":
            return
        assert (message.target_system, message.target_component) == (1, 1)
        if message.command == mavlink.MAV_CMD_DO_SET_MODE:
            self.mode = mode_mapping_acm[int(message.param2)]
            if self.mode == "LAND":
                self.height_m = 0.0
        elif message.command == mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
            assert message.param1 == 0 or self.mode == "GUIDED"
            self.armed = message.param1 == 1
        elif message.command == mavlink.MAV_CMD_NAV_TAKEOFF and self.armed and self.mode == "GUIDED":
            self.height_m = message.param7

    def close(self) -> None:
        self.vehicle.close()
        self._socket.close()

    def fly(self, setpoint: Setpoint, until: Callable[[VehicleState], bool]) -> VehicleState:
        return fly(self.vehicle, setpoint, until, meanwhile=self.step)

    def fly_for(self, setpoint: Setpoint, duration_s: float) -> VehicleState:
        return fly_for(self.vehicle, setpoint, duration_s, meanwhile=self.step)


@pytest.fixture
def copter() -> Iterator[Copter]:
    copter = Copter()
    yield copter
    copter.close()


def test_a_flight(copter: Copter):
    """Armed in GUIDED, taken off by command, flown to the east with its heading held, disarmed after landing."""
    copter.fly(ARM, lambda state: state.armed and state.mode == "GUIDED")
    copter.fly(TAKE_OFF, lambda state: state.airborne and abs(state.position[2] - 1.5) < 1e-6)
    copter.fly(EAST, lambda _: copter.velocity == (0.0, 0.5, 0.0))
    assert copter.heading == pytest.approx(0)
    state = copter.fly(LAND, lambda state: not state.armed)
    assert state.mode == "LAND" and not state.failsafe
    assert any("FS_GCS_ENABLE" in line for line in copter.vehicle.capabilities.remarks)


@pytest.mark.parametrize("mode", ["LOITER", "STABILIZE", "RTL", "BRAKE", "SMART_RTL"])
def test_a_pilot_is_not_overruled(copter: Copter, mode: str):
    """But by an emergency."""
    copter.fly(ARM, lambda state: state.armed)
    copter.fly(TAKE_OFF, lambda state: state.airborne)
    copter.fly_for(EAST, 1.0)
    copter.mode = mode
    assert mode in copter.fly(EAST, lambda state: bool(state.failsafe)).failsafe
    for setpoint in (EAST, TAKE_OFF, LAND):
        state = copter.fly_for(setpoint, 1.5)
        assert state.mode == mode and state.armed and state.failsafe
    copter.fly(EMERGENCY, lambda state: not state.armed)


def test_a_pilot_who_stops_the_take_off_is_not_overruled(copter: Copter):
    copter.fly(ARM, lambda state: state.armed)
    copter.mode = "STABILIZE"
    state = copter.fly_for(TAKE_OFF, 2.0)
    assert state.mode == "STABILIZE" and "STABILIZE" in state.failsafe
    assert copter.height_m == 0


def test_a_pilot_who_takes_over_just_before_it_is_told_to_land_is_not_overruled(copter: Copter):
    copter.fly(ARM, lambda state: state.armed)
    copter.fly(TAKE_OFF, lambda state: state.airborne)
    copter.mode = "RTL"
    fly(copter.vehicle, None, lambda state: state.mode == "RTL", meanwhile=copter.step)
    assert copter.fly_for(LAND, 1.5).mode == "RTL"


def test_who_has_armed_it_by_hand_has_it_armed(copter: Copter):
    copter.fly_for(GROUND, 0.5)
    copter.armed = True
    assert copter.fly_for(GROUND, 1.5).armed


def test_one_whose_failsafe_acts_is_told_to_land(copter: Copter):
    copter.fly(ARM, lambda state: state.armed)
    copter.fly(TAKE_OFF, lambda state: state.airborne)
    copter.fly_for(EAST, 1.0)
    copter.mode, copter.critical = "BRAKE", True
    copter.fly(EAST, lambda state: bool(state.failsafe))
    copter.fly(LAND, lambda state: state.mode == "LAND")
