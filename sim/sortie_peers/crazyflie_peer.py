"""A simulated Crazyflie that cflib connects to, unmodified, by its UDP driver.

Over the radio, packets are sent again until they are acknowledged; over UDP nobody does that, cflib's driver neither.
So `Trouble.loss` takes commands, setpoints, logged data and echoes, which come again or can be spared, and leaves the
conversation alone by which a connection is set up. Silence takes all.
"""

from __future__ import annotations

import random
import socket
import struct
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import numpy as np
from cflib.crazyflie import commander, mem, platformservice, supervisor
from cflib.crazyflie import log as cflog
from cflib.crazyflie.link_statistics import ECHO_CHANNEL
from cflib.crazyflie.localization import Localization
from cflib.crtp.crtpstack import CRTPPacket, CRTPPort
from cflib.utils.encoding import compress_quaternion

from sortie_core.config import UserError
from sortie_core.frames import millimetres_of
from sortie_peers.crazyflie_commander import CrazyflieCommander
from sortie_peers.crtp_tables import LogBlocks, Parameter, Parameters
from sortie_peers.peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sortie_peers.flight_stack import Autopilot

_PROTOCOL_VERSION = 12
_NULL = 0xFF
"""Header of a packet that only asks whether somebody is there."""
_LOSSY = {CRTPPort.COMMANDER, CRTPPort.COMMANDER_GENERIC, CRTPPort.SETPOINT_HL, CRTPPort.SUPERVISOR}
_LOSSY |= {CRTPPort.LOCALIZATION}
_NOISE_M = 1e-3
"""Standard deviation of the estimate's noise, m: no estimator stands still."""

_LOG = {f"stateEstimateZ.{axis}": "int16_t" for axis in ("x", "y", "z", "vx", "vy", "vz")}
_LOG |= {"stateEstimateZ.quat": "uint32_t"}
_LOG |= {f"stateEstimate.{axis}": "float" for axis in ("x", "y", "z", "vx", "vy", "vz", "qx", "qy", "qz", "qw")}
_LOG |= {"pm.vbat": "float", "supervisor.info": "uint16_t"}
_PARAMETERS = {
    "stabilizer.estimator": Parameter("uint8_t", 2),
    "stabilizer.controller": Parameter("uint8_t", 1),
    "colAv.enable": Parameter("uint8_t", 0),
    "commander.enHighLevel": Parameter("uint8_t", 1),
    "kalman.resetEstimation": Parameter("uint8_t", 0),
    "supervisor.landedTimeout": Parameter("uint16_t", 3000, persistent=True),
    "firmware.revision0": Parameter("uint32_t", 0x50E71E, read_only=True),
}


class CrazyfliePeer(Peer):
    """One simulated Crazyflie.

    Args:
        autopilot: what flies it.
        address: where it listens, udp://host:port.
        drone: its number.

    Raises:
        UserError: it cannot listen there.
    """

    def __init__(self, autopilot: Autopilot, address: str, drone: int) -> None:
        """Listen."""
        super().__init__(autopilot, drone)
        self._socket = _listen(address)
        self._client: tuple[str, int] | None = None
        self._noise = random.Random(drone)
        self._estimate = (autopilot.position, autopilot.velocity, autopilot.attitude)
        self._parameters = Parameters(_PARAMETERS)
        self._blocks = LogBlocks(_LOG, self._values)
        self._boot_s = autopilot.booted_s
        self._now_s = 0.0
        self._commander = CrazyflieCommander(autopilot)
        self._answers: dict[int, Callable[[int, bytes], bytes | None]] = {
            CRTPPort.LINKCTRL: self._link,
            CRTPPort.PLATFORM: self._platform,
            CRTPPort.PARAM: self._parameter,
            CRTPPort.LOGGING: self._logging,
            CRTPPort.MEM: lambda channel, data: bytes([mem.CMD_INFO_NBR, 0]) if channel == mem.CHAN_INFO else None,
            CRTPPort.LOCALIZATION: self._localization,
            CRTPPort.SUPERVISOR: self._supervisor,
            CRTPPort.COMMANDER: lambda channel, data: self._commander.attitude(data) if channel == 0 else None,
            CRTPPort.COMMANDER_GENERIC: self._setpoint,
            CRTPPort.SETPOINT_HL: lambda channel, data: self._commander.high_level(data),
        }

    def fileno(self) -> int:
        """The socket to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def receive(self, now_s: float) -> None:
        """Take in all packets that are there, and answer them."""
        self._tell_time(now_s)
        while True:
            try:
                packet, sender = self._socket.recvfrom(64)
            except OSError:
                return
            if not packet:
                continue
            port, channel = packet[0] >> 4, packet[0] & 0x03
            if not self._gets_through(port, channel):
                continue
            self._client = sender
            if packet[0] == _NULL:
                self._put(packet)
                continue
            try:
                answer = self._answers[port](channel, packet[1:]) if port in self._answers else None
            except (struct.error, IndexError):  # a packet that is too short does nothing
                continue
            if answer is not None and self._gets_through(port, channel):
                self._put(packet[:1] + answer)

    def send(self, now_s: float) -> None:
        """Fly on along the course of a go-to, and send the logged data that is due."""
        self._tell_time(now_s)
        self._commander.pid = self._parameters.value("stabilizer.controller") == 1
        self._commander.fly(now_s)
        header = CRTPPacket()
        header.set_header(CRTPPort.LOGGING, cflog.CHAN_LOGDATA)
        for data in self._blocks.due(self._clock_ms):
            if self.passes():
                self._put(bytes([header.header]) + data)

    # The link.

    def _gets_through(self, port: int, channel: int) -> bool:
        if port in _LOSSY or (port == CRTPPort.LINKCTRL and channel == ECHO_CHANNEL):
            return self.passes()
        return self.autopilot.up and not self.trouble.silent

    def _put(self, packet: bytes) -> None:
        if self._client is not None:
            try:
                self._socket.sendto(packet, self._client)
            except OSError:  # whoever asked is gone
                self._client = None

    def _tell_time(self, now_s: float) -> None:
        self._now_s = now_s
        if self.autopilot.booted_s != self._boot_s:
            self._boot_s = self.autopilot.booted_s
            self._blocks.clear()
            self._parameters.clear()
            self._commander.clear()

    @property
    def _clock_ms(self) -> int:
        return max(0, int(1e3 * (self._now_s - self._boot_s)))

    def _link(self, channel: int, data: bytes) -> bytes | None:
        if channel == platformservice.LINKSERVICE_SOURCE:
            hello = CRTPPacket()
            hello.set_header(CRTPPort.CONSOLE, 0)
            self._put(bytes([hello.header]) + b"SYS: a simulated drone\n")
            return b"Bitcraze Crazyflie".ljust(CRTPPacket.MAX_DATA_SIZE, b"\0")
        return data if channel == ECHO_CHANNEL else None

    def _platform(self, channel: int, data: bytes) -> bytes | None:
        if channel == platformservice.VERSION_COMMAND:
            if data[0] == platformservice.VERSION_GET_PROTOCOL:
                return struct.pack("<Bi", data[0], _PROTOCOL_VERSION)
            return data[:1] + b"simulated\0"
        if channel == platformservice.PLATFORM_COMMAND and data[0] == platformservice.PLATFORM_REQUEST_ARMING:
            return data[:1] + self._arm(bool(data[1]))
        return None

    def _parameter(self, channel: int, data: bytes) -> bytes | None:
        answers: tuple[Callable[[bytes], bytes | None], ...] = (
            self._parameters.table.answer,
            self._parameters.read,
            self._parameters.write,
            self._parameters.more,
        )
        return answers[channel](data)

    def _logging(self, channel: int, data: bytes) -> bytes | None:
        if channel == cflog.CHAN_TOC:
            return self._blocks.table.answer(data)
        return self._blocks.set_up(data, self._clock_ms) if channel == cflog.CHAN_SETTINGS else None

    # What is logged.

    def _jitter(self) -> np.ndarray:
        return np.array([self._noise.gauss(0.0, _NOISE_M) for _ in range(3)])

    def _values(self) -> Mapping[str, float]:
        if not self.trouble.frozen:
            pilot = self.autopilot
            self._estimate = (pilot.position + self._jitter(), pilot.velocity + self._jitter(), pilot.attitude)
        position, velocity, attitude = self._estimate
        state = np.concatenate([position, velocity])
        small = millimetres_of(state).tolist()
        return dict(
            zip(
                _LOG,
                [
                    *small,
                    compress_quaternion(attitude),
                    *state,
                    *attitude,
                    self.autopilot.battery_v,
                    self._commander.info,
                ],
                strict=True,
            )
        )

    # What it is told.

    def _supervisor(self, channel: int, data: bytes) -> bytes | None:
        answer = bytes([data[0] | 0x80])
        if channel == supervisor.SUPERVISOR_CH_INFO and data[0] == supervisor.CMD_GET_STATE_BITFIELD:
            return answer + struct.pack("<H", self._commander.info)
        if channel == supervisor.SUPERVISOR_CH_COMMAND and data[0] == supervisor.CMD_ARM_SYSTEM:
            return answer + self._arm(bool(data[1]))
        if channel == supervisor.SUPERVISOR_CH_COMMAND and data[0] == supervisor.CMD_EMERGENCY_STOP:
            self._commander.stop()
        return None

    def _localization(self, channel: int, data: bytes) -> None:
        if channel == Localization.GENERIC_CH and data[0] == Localization.EMERGENCY_STOP:
            self._commander.stop()

    def _arm(self, wanted: bool) -> bytes:
        self._commander.arm(wanted)
        return bytes([self.autopilot.armed == wanted, self.autopilot.armed])

    def _setpoint(self, channel: int, data: bytes) -> None:
        if channel == commander.SET_SETPOINT_CHANNEL:
            self._commander.stream(data[0], data[1:])
        elif channel == commander.META_COMMAND_CHANNEL and data[0] == commander.TYPE_META_COMMAND_NOTIFY_SETPOINT_STOP:
            self._commander.end_stream()


def _listen(address: str) -> socket.socket:
    try:
        where = urlparse(address)
        if where.scheme != "udp" or not where.hostname or where.port is None:
            raise ValueError("it is none of the form udp://host:port")
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind((where.hostname, where.port))
    except (ValueError, OSError) as error:
        raise UserError(f"flight.address: {address} is no place for a simulated Crazyflie: {error}") from None
    listener.setblocking(False)
    return listener
