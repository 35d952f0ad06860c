"""A simulated PX4 behind MAVLink 2, as a ground station sees it.

It sends to where the vehicle's adapter listens, from a port of its own, as PX4's simulator does. Time, of stamps and of
rates, is the machine's: a board's clock does not stand still while the simulation is held up.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pymavlink import mavutil
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_core.config import UserError
from sortie_core.frames import enu_of
from sortie_peers.flight_stack import FLYING, Autopilot, Phase
from sortie_peers.peer import Peer
from sortie_peers.px4_telemetry import Px4Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

_ACCEPTED, _LATER = mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_TEMPORARILY_REJECTED
_UNSUPPORTED, _DENIED = mavlink.MAV_RESULT_UNSUPPORTED, mavlink.MAV_RESULT_DENIED
_FORCE = 21196
_TAKEOFF_M, _TAKEOFF_S = 2.5, 2.5
_STREAM_FIRST_S, _STREAM_GAP_S = 1.0, 0.5
"""OFFBOARD is granted once setpoints have come for so long without such a gap, s."""
_RATES_HZ = {
    mavlink.MAVLINK_MSG_ID_HEARTBEAT: 1.0,
    mavlink.MAVLINK_MSG_ID_LOCAL_POSITION_NED: 50.0,
    mavlink.MAVLINK_MSG_ID_ATTITUDE_QUATERNION: 50.0,
    mavlink.MAVLINK_MSG_ID_SYS_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE: 1.0,
}
"""What it sends without being asked, 1/s."""
_MODES = {numbers[1:]: name for name, numbers in mavutil.px4_map.items()}
"""Names by main and sub mode."""
_CANNOT_ARM = {"LAND", "RTL"}


def _listener(address: str) -> tuple[str, int]:
    kind, *place = address.split(":")
    if kind not in ("udpin", "udp") or len(place) != 2 or not place[1].isdigit():
        raise UserError(f"flight.address: {address}: a simulated drone needs udpin:host:port")
    return ("127.0.0.1" if place[0] in ("", "0.0.0.0") else place[0]), int(place[1])


class MavlinkPeer(Peer):
    """One simulated PX4; its system id is drone + 1, and its local frame has its origin at the world's.

    Args:
        autopilot: what flies it.
        address: where the vehicle's adapter listens, udpin:host:port.
        drone: its number.

    Raises:
        UserError: the address is no such place.
    """

    def __init__(self, autopilot: Autopilot, address: str, drone: int) -> None:
        """Open the socket."""
        super().__init__(autopilot, seed=drone)
        self._listener = _listener(address)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._codec = mavlink.MAVLink(None, srcSystem=drone + 1, srcComponent=mavlink.MAV_COMP_ID_AUTOPILOT1)
        self._codec.robust_parsing = True
        self._telemetry = Px4Telemetry(autopilot, drone + 1)
        self._parameters = {
            "MAV_SYS_ID": drone + 1,
            "COM_OF_LOSS_T": autopilot.rules.act_after_s,
            "COM_OBL_RC_ACT": 4,
            "COM_DISARM_LAND": 0.0,
            "MIS_TAKEOFF_ALT": _TAKEOFF_M,
        }
        self._handlers: dict[str, Callable[[Any], None]] = {
            "COMMAND_LONG": self._take_command,
            "SET_MODE": self._take_mode,
            "SET_POSITION_TARGET_LOCAL_NED": self._take_setpoint,
            "TIMESYNC": self._take_timesync,
            "PARAM_REQUEST_LIST": self._take_parameters_request,
            "PARAM_REQUEST_READ": self._take_parameter_request,
            "MISSION_REQUEST_LIST": self._take_mission_request,
        }
        self._boot()

    def _boot(self) -> None:
        """Know nothing but that it is now."""
        self._telemetry.boot()
        self._codec.seq = 0
        self._failsafe = ""
        self._stream_first_s, self._stream_last_s = math.inf, -math.inf
        self._interval_s = {number: 1 / rate_hz for number, rate_hz in _RATES_HZ.items()}
        self._due_s = dict.fromkeys(self._interval_s, 0.0)

    def fileno(self) -> int:
        """See `Peer`."""
        return self._socket.fileno()

    def close(self) -> None:
        """See `Peer`."""
        self._socket.close()

    def receive(self, now_s: float) -> None:
        """See `Peer`."""
        while True:
            try:
                data = self._socket.recv(65535)
            except OSError:  # nothing more is there
                return
            if not self.passes():
                continue
            self._codec.buf, self._codec.buf_index = bytearray(), 0
            for message in self._codec.parse_buffer(data) or ():
                handler = self._handlers.get(message.get_type())
                if handler and getattr(message, "target_system", 0) in (0, self._codec.srcSystem):
                    handler(message)

    def send(self, now_s: float) -> None:
        """See `Peer`."""
        if not self.autopilot.up:
            self._boot()
            return
        self._notice_failsafe()
        if not self.trouble.frozen:
            self._telemetry.estimate()
        up_s = self._telemetry.up_s
        for number, interval_s in self._interval_s.items():
            if up_s >= self._due_s[number]:
                self._due_s[number] = max(self._due_s[number] + interval_s, up_s)
                self._send(self._telemetry.message(number))

    # What it sends.

    def _send(self, message: Any) -> None:
        data = message.pack(self._codec)
        self._codec.seq = (self._codec.seq + 1) % 256
        if self.passes():
            try:
                self._socket.sendto(data, self._listener)
            except OSError:  # lost, as on any other link
                pass

    def _say(self, severity: int, text: str) -> None:
        self._send(mavlink.MAVLink_statustext_message(severity, text.encode()[:50]))

    def _notice_failsafe(self) -> None:
        failsafe = self.autopilot.failsafe
        if failsafe and failsafe != self._failsafe:
            if self.autopilot.phase is Phase.LANDING:
                self._telemetry.mode = "LAND"
            self._say(mavlink.MAV_SEVERITY_CRITICAL, f"Failsafe activated: {failsafe}")
        self._failsafe = failsafe

    def _send_parameter(self, name: str) -> None:
        value, kind = self._parameters[name], mavlink.MAV_PARAM_TYPE_REAL32
        if isinstance(value, int):  # PX4 sends the bytes of an integer in the place of a float's
            (value,), kind = struct.unpack("<f", struct.pack("<i", value)), mavlink.MAV_PARAM_TYPE_INT32
        number = list(self._parameters).index(name)
        self._send(mavlink.MAVLink_param_value_message(name.encode(), value, kind, len(self._parameters), number))

    # What it is told.

    def _take_timesync(self, message: Any) -> None:
        if message.tc1 == 0:
            self._send(mavlink.MAVLink_timesync_message(int(1e9 * self._telemetry.up_s), message.ts1))

    def _take_parameters_request(self, message: Any) -> None:
        for name in self._parameters:
            self._send_parameter(name)

    def _take_parameter_request(self, message: Any) -> None:
        names = list(self._parameters)
        name = names[message.param_index] if 0 <= message.param_index < len(names) else message.param_id
        if name in self._parameters:
            self._send_parameter(name)

    def _take_mission_request(self, message: Any) -> None:
        self._send(mavlink.MAVLink_mission_count_message(message.get_srcSystem(), message.get_srcComponent(), 0))

    def _take_mode(self, message: Any) -> None:
        self._switch(message.custom_mode >> 16 & 0xFF, message.custom_mode >> 24)

    def _take_setpoint(self, message: Any) -> None:
        numbers = np.array([message.x, message.y, message.z, message.vx, message.vy, message.vz])
        unused = np.array([bool(message.type_mask >> bit & 1) for bit in range(6)])
        if message.coordinate_frame != mavlink.MAV_FRAME_LOCAL_NED or not np.isfinite(numbers[~unused]).all():
            return
        place, motion = unused[:3], unused[3:]
        if place.any() != place.all() or motion.any() != motion.all() or unused.all():
            return  # some axes only
        now_s = time.monotonic()
        if now_s - self._stream_last_s > _STREAM_GAP_S:
            self._stream_first_s = now_s
        self._stream_last_s = now_s
        if self._telemetry.mode == "OFFBOARD":
            velocity = np.zeros(3) if motion.all() else enu_of(numbers[3:])
            self.autopilot.follow(velocity, None if place.all() else enu_of(numbers[:3]))

    def _take_command(self, message: Any) -> None:
        result = self._obey(message)
        asker = message.get_srcSystem(), message.get_srcComponent()
        self._send(mavlink.MAVLink_command_ack_message(message.command, result, 0, 0, *asker))

    def _obey(self, message: Any) -> int:
        first, second = message.param1, message.param2
        if not math.isfinite(first) or not math.isfinite(second):
            return _DENIED
        match message.command:
            case mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
                return self._arm() if first == 1 else self._disarm(forced=second == _FORCE)
            case mavlink.MAV_CMD_DO_SET_MODE:
                return self._switch(int(second), int(message.param3))
            case mavlink.MAV_CMD_NAV_LAND:
                return self._switch(*mavutil.px4_map["LAND"][1:])
            case mavlink.MAV_CMD_NAV_TAKEOFF:
                return self._switch(*mavutil.px4_map["TAKEOFF"][1:])
            case mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
                return self._set_interval(int(first), second)
            case mavlink.MAV_CMD_REQUEST_MESSAGE if int(first) in self._telemetry:
                self._send(self._telemetry.message(int(first)))
                return _ACCEPTED
        return _UNSUPPORTED

    def _arm(self) -> int:
        if self._telemetry.mode in _CANNOT_ARM or not self.autopilot.arm():
            self._say(mavlink.MAV_SEVERITY_CRITICAL, f"Arming denied in {self._telemetry.mode}")
            return _LATER
        return _ACCEPTED

    def _disarm(self, forced: bool) -> int:
        if forced:
            self.autopilot.cut()
        elif not self.autopilot.disarm():
            self._say(mavlink.MAV_SEVERITY_CRITICAL, "Disarming denied: not landed")
            return _LATER
        return _ACCEPTED

    def _set_interval(self, number: int, interval_us: float) -> int:
        if number not in self._telemetry:
            return _DENIED
        self._interval_s.pop(number, None)
        if interval_us == 0 and number in _RATES_HZ:
            self._interval_s[number] = 1 / _RATES_HZ[number]
        elif interval_us > 0:
            self._interval_s[number] = interval_us / 1e6
        self._due_s[number] = 0.0
        return _ACCEPTED

    def _switch(self, main: int, sub: int) -> int:
        """Change the mode, as far as it is allowed to."""
        name = _MODES.get((main, sub))
        if name is None:
            return _DENIED
        if name == "OFFBOARD":
            now_s = time.monotonic()
            current = now_s - self._stream_last_s < _STREAM_GAP_S
            if not current or now_s - self._stream_first_s < _STREAM_FIRST_S:
                self._say(mavlink.MAV_SEVERITY_CRITICAL, "Switching to Offboard is not possible: no setpoints")
                return _LATER
        elif name in ("LAND", "RTL"):
            self.autopilot.land()
        elif name == "TAKEOFF":
            self.autopilot.take_off(_TAKEOFF_M, _TAKEOFF_S)
        elif self.autopilot.phase in FLYING:
            self.autopilot.hold()
        self._telemetry.mode = name
        return _ACCEPTED
