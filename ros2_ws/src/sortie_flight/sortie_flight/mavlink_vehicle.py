"""A drone behind MAVLink 2: PX4, flown in OFFBOARD, or ArduPilot's Copter, flown in GUIDED."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pymavlink import mavutil
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_core.frames import heading_of, ned_of, yaw_from_attitude
from sortie_flight.mavlink_link import AUTOPILOT, Link, check_address
from sortie_flight.mavlink_telemetry import ARDUPILOT, PX4, STREAMS_HZ, Kind, Telemetry
from sortie_flight.vehicle import Capabilities, Mode, Repeat, Setpoint, Vehicle, VehicleState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

_COMMAND_S = 0.5
"""A command without effect is sent again after this, s."""
_EMERGENCY_S = 0.1
_SILENT_S = 2.0
"""Nothing comes through a link that has been silent for so long, s."""
_STREAM_FIRST_S = 1.2
"""PX4 takes up OFFBOARD once setpoints have come for more than 1 s."""
_STREAM_GAP_S = 0.4
_CLIMB_MPS = 1.0
_LANDED_S = 3.0
"""An autopilot that has landed and not disarmed by itself is told to after this, s."""
_REFUSED_S = 5.0
"""An autopilot that refuses to arm may still be getting ready for so long, s."""
_FORCE = 21196.0
"""What makes PX4 and ArduPilot disarm in flight."""
_FLYING = {Mode.TAKE_OFF, Mode.FOLLOW}
_NO_POSITION, _NO_VELOCITY, _NO_ACCELERATION = 0b111, 0b111 << 3, 0b111 << 6
_NO_YAW, _NO_YAW_RATE = 1 << 10, 1 << 11
_ARDUPILOT_MODES = {name: number for number, name in mavutil.mode_mapping_acm.items()}


class MavlinkVehicle(Vehicle):
    """A drone whose autopilot has the system id drone + 1.

    It is armed in the mode in which it takes setpoints, and asked to enter that only while it is disarmed: whoever
    changes the mode later is not overruled but by an emergency. A drone that a person has taken over is not told to
    land either; one that its failsafe has is.

    Its estimate of where it is has come to a stop where positions agree to the last bit while it flies (see
    `PoseFilter`): `measured_s` and the pose then stand still, while `heard_s` goes on.

    Args:
        address: as `mavutil.mavlink_connection` takes it: udpin:host:port, udpout:host:port, tcp:host:port or
            device,baud.
        origin: [3] m, where the origin of the autopilot's local frame lies in the world.
        drone: its number.
    """

    def __init__(self, address: str, origin: tuple[float, float, float], drone: int) -> None:
        """Open nothing yet."""
        self._system = drone + 1
        self._origin = np.array(origin, np.float64)
        self._link = Link(address, self._system)
        self._told = Telemetry(self._origin)
        self._heard_s, self._started_s = -math.inf, time.monotonic()
        self._regularly, self._repeat, self._cut = Repeat(1.0), Repeat(_COMMAND_S), Repeat(_EMERGENCY_S)
        self._asked, self._asked_s = Mode.GROUND, -math.inf
        self._emergency_s = math.inf
        self._armed = False  # it was armed by order
        self._rest()

    def _rest(self) -> None:
        """Forget how the last flight went."""
        self._left = ""
        self._told.text, self._told.refused = "", False
        self._reference: Vector | None = None
        self._heading_rad, self._goal_m = math.nan, math.nan
        self._streaming_s, self._streamed_s = -math.inf, -math.inf

    @staticmethod
    def check(address: str) -> None:
        """See `Vehicle`."""
        check_address(address)

    def open(self) -> None:
        """See `Vehicle`."""
        self._link.open()

    def close(self) -> None:
        """See `Vehicle`."""
        self._link.close()

    def state(self) -> VehicleState:
        """See `Vehicle`."""
        self._update()
        told = self._told
        silent = time.monotonic() - self._heard_s > _SILENT_S
        return replace(
            told.pose,
            heard_s=self._heard_s,
            armed=told.armed,
            airborne=told.airborne,
            locked=told.locked or self._emergency_s < math.inf,
            battery_v=told.battery_v,
            link=0.0 if silent and told.kind else self._link.share,
            boots=told.boots,
            mode=told.mode,
            failsafe=self._failsafe,
        )

    @property
    def _failsafe(self) -> str:
        told = self._told
        if self._left:
            reason = self._left
        elif told.status == mavlink.MAV_STATE_CRITICAL:
            reason = f"it reports a critical state in {told.mode}"
        elif self._asked is Mode.ARM and told.refused and time.monotonic() - self._asked_s > _REFUSED_S:
            reason = "it refuses to arm"
        else:
            return ""
        return f"{reason}: {told.text}" if told.text else reason

    def _update(self) -> None:
        """Take in what has arrived, and send what keeps the link up."""
        told, boots, kind = self._told, self._told.boots, self._told.kind
        for arrived_s, message in self._link.read():
            self._heard_s = arrived_s
            told.hear(message, arrived_s)
        if told.boots > boots:
            self._link.restart()
            if self._asked in _FLYING:
                self._left = "it has rebooted in flight"
        if told.kind is not kind and told.kind:
            self.capabilities = Capabilities(remarks=told.kind.remarks)
        elif told.kind is None and self._link.strangers:
            strange = ", ".join(map(str, sorted(self._link.strangers)))
            mend = f"set MAV_SYS_ID (PX4) or SYSID_THISMAV (ArduPilot) to {self._system}"
            self.capabilities = Capabilities(remarks=(f"system {strange} is heard, not {self._system}; {mend}",))
        if self._regularly.due("heartbeat"):
            ours = (mavlink.MAV_TYPE_GCS, mavlink.MAV_AUTOPILOT_INVALID, 0, 0, mavlink.MAV_STATE_ACTIVE, 3)
            self._link.send(mavlink.MAVLink_heartbeat_message(*ours))
            self._link.send(told.clock.ask())
        if told.kind:
            for number in told.wanting(time.monotonic()):
                self._do(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, number, 1e6 / STREAMS_HZ[number])

    def command(self, setpoint: Setpoint) -> None:
        """See `Vehicle`."""
        self._update()
        now_s, told = time.monotonic(), self._told
        if setpoint.mode is Mode.EMERGENCY:
            self._emergency_s = min(self._emergency_s, now_s)
        if self._emergency_s < math.inf:
            # For a second at least, since what was heard of it may be older than the emergency.
            if (told.armed or told.beat_s < self._emergency_s + 1) and self._cut.due("cut"):
                self._do(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 0, _FORCE)
            return
        if told.kind is None:
            return
        self._begin(setpoint.mode, now_s)
        self._armed &= told.armed or setpoint.mode is Mode.ARM
        match setpoint.mode:
            case Mode.ARM:
                self._arm(told.kind)
            case Mode.LAND:
                self._land(told.kind, now_s)
            case Mode.GROUND if not told.airborne:
                self._disarm()
            case Mode.TAKE_OFF | Mode.FOLLOW if told.armed and not self._left:
                self._fly(told.kind, setpoint, now_s)

    def _begin(self, mode: Mode, now_s: float) -> None:
        """Note that something else is asked for."""
        if mode is self._asked:
            return
        if mode in (Mode.GROUND, Mode.ARM):
            self._rest()
        if not {mode, self._asked} <= _FLYING:
            self._asked_s = now_s
        self._asked, self._reference = mode, None

    def _arm(self, kind: Kind) -> None:
        told = self._told
        if told.airborne or self._left:
            return
        if kind is PX4:  # it enters OFFBOARD only while it is streamed setpoints
            self._send_position(told.pose.position)
        if told.armed:
            self._in_control(kind)
        elif told.mode == kind.flying:
            if self._repeat.due("arm"):
                self._armed = True
                self._do(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1)
        elif kind is not PX4 or self._streamed_s > self._streaming_s + _STREAM_FIRST_S:
            self._set_mode(kind.flying)

    def _disarm(self) -> None:
        """What somebody else has armed stays so."""
        if self._armed and self._repeat.due("disarm"):
            self._do(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 0)

    def _land(self, kind: Kind, now_s: float) -> None:
        told = self._told
        if not told.armed:
            return
        failed = told.status == mavlink.MAV_STATE_CRITICAL and told.mode not in kind.piloted
        if told.mode == kind.flying or (failed and told.mode != "LAND"):
            self._set_mode("LAND")
        if told.airborne:
            self._asked_s = now_s
        elif now_s - self._asked_s > _LANDED_S:
            self._disarm()

    def _fly(self, kind: Kind, setpoint: Setpoint, now_s: float) -> None:
        if setpoint.mode is Mode.FOLLOW:
            self._send_target(_NO_POSITION, np.zeros(3), ned_of(setpoint.velocity))
            self._in_control(kind)
        elif kind is PX4:
            self._climb(kind, setpoint.height_m, now_s)
        elif self._in_control(kind) and not self._told.airborne and self._repeat.due("take off"):
            self._do(mavlink.MAV_CMD_NAV_TAKEOFF, 0, 0, 0, 0, 0, 0, setpoint.height_m)

    def _climb(self, kind: Kind, height_m: float, now_s: float) -> None:
        """Stream positions that rise, once they are followed, from where it stands to a height above that."""
        position = self._told.pose.position
        if self._reference is None:
            if not np.isfinite(position).all():
                return
            self._reference = position.copy()
            ground_m = self._origin[2] if self._told.airborne else position[2]
            self._goal_m = ground_m + height_m
        step = _CLIMB_MPS * min(now_s - self._streamed_s, _STREAM_GAP_S)
        if self._in_control(kind):
            self._reference[2] += np.clip(self._goal_m - self._reference[2], -step, step)
        self._send_position(self._reference)

    def _in_control(self, kind: Kind) -> bool:
        """Whether an armed drone obeys setpoints; never again once others have ended that."""
        told = self._told
        if told.mode != kind.flying and told.beat_s > self._asked_s + _COMMAND_S:  # else it may be older than the order
            self._left = f"it went from {kind.flying} to {told.mode}"
        return told.mode == kind.flying

    def _send_position(self, place: Vector) -> None:
        """Stream a place [3] m of the world."""
        if np.isfinite(place).all():
            self._send_target(_NO_VELOCITY, ned_of(place - self._origin), np.zeros(3))

    def _send_target(self, mask: int, position: Vector, velocity: Vector) -> None:
        """Stream a setpoint; the heading stays what it was at the first one of the flight.

        Args:
            mask: what of it does not count.
            position: [3] m, in the autopilot's local NED frame.
            velocity: [3] m/s, NED.
        """
        now_s, pose = time.monotonic(), self._told.pose
        if now_s - self._streamed_s > _STREAM_GAP_S:
            self._streaming_s = now_s
        self._streamed_s = now_s
        if math.isnan(self._heading_rad) and pose.measured_s > -math.inf:
            self._heading_rad = heading_of(yaw_from_attitude(pose.attitude))
        mask |= _NO_ACCELERATION | _NO_YAW_RATE
        heading_rad = self._heading_rad
        if math.isnan(heading_rad):
            mask, heading_rad = mask | _NO_YAW, 0.0
        stamp_ms = int(1e3 * (now_s - self._started_s)) & 0xFFFFFFFF
        frame = mavlink.MAV_FRAME_LOCAL_NED
        numbers = (*position, *velocity, 0.0, 0.0, 0.0, heading_rad, 0.0)
        target = mavlink.MAVLink_set_position_target_local_ned_message
        self._link.send(target(stamp_ms, self._system, AUTOPILOT, frame, mask, *numbers))

    def _set_mode(self, name: str) -> None:
        if self._repeat.due(name):
            numbers = (_ARDUPILOT_MODES[name],) if self._told.kind is ARDUPILOT else mavutil.px4_map[name][1:]
            self._do(mavlink.MAV_CMD_DO_SET_MODE, mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED, *numbers)

    def _do(self, command: int, *parameters: float) -> None:
        numbers = (*parameters, *[0.0] * (7 - len(parameters)))
        self._link.send(mavlink.MAVLink_command_long_message(self._system, AUTOPILOT, command, 0, *numbers))
