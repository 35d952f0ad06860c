"""What an autopilot tells over MAVLink, in Sortie's frames and by our clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pymavlink import mavutil
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_core.frames import attitude_from_ned, enu_of
from sortie_flight.mavlink_link import Clock
from sortie_flight.vehicle import PoseFilter, VehicleState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

STREAMS_HZ = {
    mavlink.MAVLINK_MSG_ID_HEARTBEAT: 5.0,
    mavlink.MAVLINK_MSG_ID_LOCAL_POSITION_NED: 50.0,
    mavlink.MAVLINK_MSG_ID_ATTITUDE_QUATERNION: 10.0,
    mavlink.MAVLINK_MSG_ID_SYS_STATUS: 5.0,
    mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE: 5.0,
}
"""What an autopilot is asked to send, 1/s."""
_STREAM_CHECK_S = 2.0
_REBOOT_S = 0.5
"""A clock that has gone back further than packets overtake each other has started anew, s."""
_AIRBORNE_M = 0.15
"""Off the ground, where the autopilot does not tell, m."""


@dataclass(frozen=True)
class Kind:
    """What differs between autopilots.

    Attributes:
        flying: the mode in which it takes setpoints.
        piloted: the modes in which a person flies it.
        remarks: see `Capabilities`.
    """

    flying: str
    piloted: frozenset[str]
    remarks: tuple[str, ...]


PX4 = Kind(
    flying="OFFBOARD",
    piloted=frozenset({"MANUAL", "ALTCTL", "POSCTL", "ACRO", "STABILIZED", "RATTITUDE"}),
    remarks=("PX4 leaves OFFBOARD COM_OF_LOSS_T after the last setpoint and does COM_OBL_RC_ACT; let that be Land",),
)
ARDUPILOT = Kind(
    flying="GUIDED",
    piloted=frozenset(
        {"STABILIZE", "ACRO", "ALT_HOLD", "LOITER", "DRIFT", "SPORT", "POSHOLD", "FLOWHOLD", "AUTOTUNE", "ZIGZAG"}
    ),
    remarks=("ArduPilot hovers GUID_TIMEOUT after the last setpoint; it lands by itself only if FS_GCS_ENABLE is 5",),
)
_KINDS = {mavlink.MAV_AUTOPILOT_PX4: PX4, mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA: ARDUPILOT}


class Telemetry:
    """The newest that an autopilot has told.

    Args:
        origin: [3] m, where the origin of its local frame lies in the world.

    Attributes:
        kind: what it is; None before its first heartbeat.
        clock: what its clock shows.
        mode: its own name of what it does.
        armed: its motors may turn.
        status: MAV_STATE.
        boots: how often it has started anew.
        beat_s: when its last heartbeat came, monotonic clock, s.
        battery_v: V; nan where it is not told.
        text: its last warning, or worse.
        refused: it has refused to arm or to disarm.
        pose: the measured part of the state.
    """

    def __init__(self, origin: Vector) -> None:
        """Nothing has been told yet."""
        self._origin = origin
        self.kind: Kind | None = None
        self.clock = Clock()
        self.mode, self.armed, self.status, self.boots = "", False, mavlink.MAV_STATE_UNINIT, 0
        self.beat_s, self.battery_v, self.text, self.refused = -math.inf, math.nan, "", False
        self.pose = VehicleState()
        self._attitude = self.pose.attitude
        self._restart()

    def _restart(self) -> None:
        self.clock, self.armed = Clock(), False
        self._boot_s, self._filter, self._landed = -math.inf, PoseFilter(), mavlink.MAV_LANDED_STATE_UNDEFINED
        self._counted_s, self._counts = -math.inf, dict.fromkeys(STREAMS_HZ, 0)

    @property
    def airborne(self) -> bool:
        """It is off the ground."""
        if self._landed != mavlink.MAV_LANDED_STATE_UNDEFINED:
            return self._landed != mavlink.MAV_LANDED_STATE_ON_GROUND
        return bool(self.pose.position[2] - self._origin[2] > _AIRBORNE_M)

    @property
    def locked(self) -> bool:
        """It will not fly until somebody has looked at it."""
        return self.status in (mavlink.MAV_STATE_EMERGENCY, mavlink.MAV_STATE_FLIGHT_TERMINATION)

    def wanting(self, now_s: float) -> list[int]:
        """The messages that have come less than half as often as they should; told once in a while."""
        passed_s = now_s - self._counted_s
        if passed_s < _STREAM_CHECK_S:
            return []
        few = [number for number, rate_hz in STREAMS_HZ.items() if self._counts[number] < 0.5 * rate_hz * passed_s]
        self._counted_s, self._counts = now_s, dict.fromkeys(STREAMS_HZ, 0)
        return few

    def hear(self, message: Any, arrived_s: float) -> None:
        """Take in one message.

        Args:
            message: of the autopilot.
            arrived_s: when it came, monotonic clock, s.
        """
        if message.get_msgId() in self._counts:
            self._counts[message.get_msgId()] += 1
        match message.get_type():
            case "HEARTBEAT":
                self.kind = _KINDS.get(message.autopilot)
                self.mode, self.status = mavutil.mode_string_v10(message), message.system_status
                self.armed, self.beat_s = bool(message.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED), arrived_s
            case "LOCAL_POSITION_NED":
                self._hear_position(message, arrived_s)
            case "ATTITUDE_QUATERNION":
                self._hear_boot(message.time_boot_ms / 1e3)
                quaternion = np.array([message.q1, message.q2, message.q3, message.q4])
                length = np.linalg.norm(quaternion)
                if 0.5 < length < 2:  # neither nan nor nothing
                    self._attitude = attitude_from_ned(quaternion / length)
            case "SYS_STATUS":
                known = 0 < message.voltage_battery < 65535
                self.battery_v = message.voltage_battery / 1e3 if known else math.nan
            case "EXTENDED_SYS_STATE":
                self._landed = message.landed_state
            case "TIMESYNC":
                self.clock.take(message, arrived_s)
            case "STATUSTEXT" if message.severity <= mavlink.MAV_SEVERITY_WARNING:
                self.text = message.text
            case "COMMAND_ACK" if message.command == mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
                self.refused = message.result not in (mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_IN_PROGRESS)

    def _hear_boot(self, boot_s: float) -> None:
        if boot_s < self._boot_s - _REBOOT_S:
            self.boots += 1
            self._restart()
        self._boot_s = max(boot_s, self._boot_s)

    def _hear_position(self, message: Any, arrived_s: float) -> None:
        boot_s = message.time_boot_ms / 1e3
        self._hear_boot(boot_s)
        position = enu_of([message.x, message.y, message.z]) + self._origin
        velocity = enu_of([message.vx, message.vy, message.vz])
        if not np.isfinite(velocity).all() or not self._filter.takes(boot_s, position, self.airborne):
            return
        ours_s = self.clock.ours(boot_s)
        measured_s = arrived_s if math.isnan(ours_s) else min(ours_s, arrived_s)
        latency_s = math.nan if math.isnan(ours_s) else arrived_s - measured_s
        self.pose = VehicleState(measured_s, latency_s, position, velocity, self._attitude)
