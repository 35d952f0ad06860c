"""What a simulated PX4 tells of itself by MAVLink 2."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from pymavlink import mavutil
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_core.frames import attitude_to_ned, ned_of
from sortie_peers.flight_stack import Phase

if TYPE_CHECKING:
    from sortie_peers.flight_stack import Autopilot

_CELLS = 4
_NOISE_M = 1e-3
"""Standard deviation of the estimate of where it is, m; without it a hovering drone's would come to a stop."""


class Px4Telemetry:
    """What one simulated PX4 tells of itself.

    Args:
        autopilot: what flies it.
        system: its MAVLink system id.

    Attributes:
        mode: its flight mode, by PX4's name.
    """

    def __init__(self, autopilot: Autopilot, system: int) -> None:
        """It has just booted."""
        self._autopilot, self._system = autopilot, system
        self._noise = random.Random(system)
        self._makers = {
            mavlink.MAVLINK_MSG_ID_HEARTBEAT: self._heartbeat,
            mavlink.MAVLINK_MSG_ID_LOCAL_POSITION_NED: self._local_position,
            mavlink.MAVLINK_MSG_ID_ATTITUDE_QUATERNION: self._attitude,
            mavlink.MAVLINK_MSG_ID_SYS_STATUS: self._sys_status,
            mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: self._battery_status,
            mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE: self._extended_sys_state,
            mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION: self._autopilot_version,
        }
        self.boot()

    def boot(self) -> None:
        """Know nothing but that it is now."""
        self._booted_s = time.monotonic()
        self.mode = "LOITER"
        self.estimate()

    @property
    def up_s(self) -> float:
        """Since it booted, s."""
        return time.monotonic() - self._booted_s

    def __contains__(self, number: int) -> bool:
        """Whether it has a message of a number."""
        return number in self._makers

    def message(self, number: int) -> Any:
        """The message of a number, as of now."""
        return self._makers[number]()

    def estimate(self) -> None:
        """Measure where it is; until the next time it is told to be there."""
        noise = [self._noise.gauss(0.0, _NOISE_M) for _ in range(3)]
        self._position, self._velocity = self._autopilot.position + noise, self._autopilot.velocity.copy()
        self._rotation = self._autopilot.attitude.copy()

    @property
    def _up_ms(self) -> int:
        return int(1e3 * self.up_s)

    def _heartbeat(self) -> Any:
        base, main, sub = mavutil.px4_map[self.mode]
        status = mavlink.MAV_STATE_STANDBY
        if self._autopilot.locked:
            status = mavlink.MAV_STATE_FLIGHT_TERMINATION
        elif self._autopilot.armed:
            base |= mavlink.MAV_MODE_FLAG_SAFETY_ARMED
            status = mavlink.MAV_STATE_CRITICAL if self._autopilot.failsafe else mavlink.MAV_STATE_ACTIVE
        kind, custom = mavlink.MAV_TYPE_QUADROTOR, main << 16 | sub << 24
        return mavlink.MAVLink_heartbeat_message(kind, mavlink.MAV_AUTOPILOT_PX4, base, custom, status, 3)

    def _local_position(self) -> Any:
        numbers = (*ned_of(self._position), *ned_of(self._velocity))
        return mavlink.MAVLink_local_position_ned_message(self._up_ms, *numbers)

    def _attitude(self) -> Any:
        return mavlink.MAVLink_attitude_quaternion_message(self._up_ms, *attitude_to_ned(self._rotation), 0, 0, 0)

    def _sys_status(self) -> Any:
        voltage_mv = round(1e3 * _CELLS * self._autopilot.battery_v)
        return mavlink.MAVLink_sys_status_message(0, 0, 0, 0, voltage_mv, -1, -1, 0, 0, 0, 0, 0, 0)

    def _battery_status(self) -> Any:
        cells = [round(1e3 * self._autopilot.battery_v)] * _CELLS + [65535] * (10 - _CELLS)
        kind, unknown = mavlink.MAV_BATTERY_TYPE_LIPO, 32767
        function = mavlink.MAV_BATTERY_FUNCTION_ALL
        return mavlink.MAVLink_battery_status_message(0, function, kind, unknown, cells, -1, -1, -1, -1)

    def _extended_sys_state(self) -> Any:
        landed = mavlink.MAV_LANDED_STATE_ON_GROUND
        if self._autopilot.airborne:
            landing = self._autopilot.phase is Phase.LANDING
            landed = mavlink.MAV_LANDED_STATE_LANDING if landing else mavlink.MAV_LANDED_STATE_IN_AIR
        return mavlink.MAVLink_extended_sys_state_message(mavlink.MAV_VTOL_STATE_UNDEFINED, landed)

    def _autopilot_version(self) -> Any:
        able = mavlink.MAV_PROTOCOL_CAPABILITY_SET_POSITION_TARGET_LOCAL_NED | mavlink.MAV_PROTOCOL_CAPABILITY_MAVLINK2
        version = 1 << 24 | 14 << 16
        hashes = [[0] * 8] * 3
        return mavlink.MAVLink_autopilot_version_message(able, version, 0, 0, 0, *hashes, 0, 0, self._system)
