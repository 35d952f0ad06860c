"""One connection to a Crazyflie by cflib: set up, listened to, taken down."""

from __future__ import annotations

import logging
import math
import re
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cflib.crtp
import numpy as np
from cflib.crazyflie import Crazyflie
from cflib.crazyflie.log import LogConfig
from cflib.crtp.crtpstack import CRTPPacket, CRTPPort
from cflib.crtp.radiodriver import RadioDriver
from cflib.drivers import crazyradio
from cflib.utils.encoding import decompress_quaternion

from sortie_core.frames import metres_of
from sortie_flight.crazyflie_heard import Heard, Pose
from sortie_flight.vehicle import PoseFilter, VehicleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

CACHE = Path.home() / ".cache/sortie/cflib"
"""Where tables of contents are kept, by their checksums: without, each connection takes many seconds over the radio."""
POSE_MS, STATUS_MS = 20, 100

_AXES = ("x", "y", "z", "vx", "vy", "vz")
_SMALL = {f"stateEstimateZ.{axis}": "int16_t" for axis in _AXES} | {"stateEstimateZ.quat": "uint32_t"}
_LARGE = {f"stateEstimate.{axis}": "float" if len(axis) == 1 else "FP16" for axis in (*_AXES, "qx", "qy", "qz", "qw")}
"""26 bytes, the most that a packet holds."""
_STATUS = {"pm.vbat": "float", "supervisor.info": "uint16_t"}
logging.getLogger("cflib").setLevel(logging.CRITICAL)  # it logs tracebacks of what `CrazyflieLink.lost` tells in a line
_SHARE_GAIN = 0.02
_ECHO = 1
"""First byte of echoes that are not cflib's."""
_CONTROLLER = ("stabilizer", "controller")
PID = 1
"""The value of this parameter at which it follows velocities; to others a velocity is a place at the height 0."""
_USB_RIGHTS = (
    "https://www.bitcraze.io/documentation/repository/crazyflie-lib-python/master/installation/usb_permissions/"
)


def check_address(address: str) -> None:
    """Find out whether a Crazyflie can be looked for at an address; starts cflib's drivers.

    Raises:
        VehicleError: it cannot.
    """
    if not cflib.crtp.CLASSES:
        cflib.crtp.init_drivers()
    if re.fullmatch(r"usb://\d+", address):
        return
    if found := re.fullmatch(r"udp://([^:/?#]+):(\d+)", address):
        if 0 < int(found[2]) < 65536:
            _check_host(found[1], address)
            return
    elif address.startswith("radio://"):
        _check_radio(address)
        return
    raise VehicleError(
        f"flight.address: {address} is no Crazyflie's; it is like radio://0/80/2M/E7E7E7E701, usb://0 or udp://host:port"
    )


def _check_host(name: str, address: str) -> None:
    try:
        socket.getaddrinfo(name, None, socket.AF_INET)
    except OSError as error:
        raise VehicleError(f"flight.address: {address}: {error.strerror}; correct the host's name") from None


def _check_radio(address: str) -> None:
    try:
        radios = crazyradio.get_serials()
    except Exception as error:  # libusb and pyusb have many ways to fail, all for want of a library or of rights
        raise VehicleError(f"{address}: no USB radio can be asked ({error}); see {_USB_RIGHTS}") from None
    if not radios:
        raise VehicleError(f"{address}: no Crazyradio is plugged in; plug one in, or see {_USB_RIGHTS}")
    try:
        number = RadioDriver.parse_uri(address)[0]
    except Exception as error:
        raise VehicleError(
            f"flight.address: {address}: {error}; it is like radio://0/80/2M/E7E7E7E701: radio, channel, rate, address"
        ) from None
    if number >= len(radios):
        raise VehicleError(f"{address}: there is no Crazyradio {number}; {len(radios)} plugged in, counted from 0")


class CrazyflieLink:
    """One connection.

    Args:
        address: of the drone.
        heard: where to put what is heard.
        ground_m: height of the ground in the drone's local frame, m.

    Attributes:
        cf: cflib's side of it.
        lost: why the connection is no more; empty while it is.
        connected_s: when the tables had been read, monotonic clock, s; -inf before.
        pose_s: when a pose came over this connection; -inf before.
        status_s: the same of the status.
        tells_status: the firmware has supervisor.info.
        controller: the firmware's, by number; None before it is known.
    """

    def __init__(self, address: str, heard: Heard, ground_m: float) -> None:
        """Open it; cflib does the rest in its threads."""
        CACHE.mkdir(parents=True, exist_ok=True)
        self._heard, self._ground_m = heard, ground_m
        self._filter = PoseFilter()
        self.lost = ""
        self.opened_s = time.monotonic()
        self.connected_s = self.pose_s = self.status_s = -math.inf
        self.tells_status = False
        self.controller: int | None = None
        self._counted_s, self._told_quality = math.nan, False
        heard.clock.reconnect()
        self.cf: Any = Crazyflie(rw_cache=str(CACHE))
        # cflib's own pings, 10 a second from a thread each, are neither needed nor harmless: a connection that breaks
        # while one is being sent never ends, as that thread is waited for by itself
        self.cf.link_statistics.latency.start = self.cf.link_statistics.latency.stop = lambda: None
        self.cf.packet_received.add_callback(self._on_packet)
        self.cf.add_header_callback(self._on_echo, CRTPPort.LINKCTRL, 0)
        self.cf.connected.add_callback(self._on_connected)
        self.cf.param.add_update_callback(*_CONTROLLER, self._on_controller)
        self.cf.link_statistics.link_quality_updated.add_callback(self._on_quality)
        for event in (self.cf.connection_failed, self.cf.connection_lost, self.cf.disconnected_link_error):
            event.add_callback(self._on_lost)
        self.cf.open_link(address)
        if address.startswith("udp://") and self.cf.link is not None:
            # cflib takes UDP for a link that loses nothing, and would wait for ever for what was lost
            self.cf.link.needs_resending = True

    @property
    def ready(self) -> bool:
        """Whether it has told where and how it is: setpoints make sense."""
        return self.pose_s > -math.inf and (self.status_s > -math.inf or not self.tells_status)

    def echo(self) -> None:
        """Ask for an echo, which tells the time there and back, and that somebody is there."""
        packet = CRTPPacket()
        packet.set_header(CRTPPort.LINKCTRL, 0)
        packet.data = struct.pack("<Bd", _ECHO, time.monotonic())
        self.cf.send_packet(packet)

    def choose_pid(self) -> None:
        """Have it fly by the controller that follows velocities, until it is switched off."""
        self.cf.param.set_value(".".join(_CONTROLLER), PID)

    def close(self) -> None:
        """Close it; takes up to 2 s.

        cflib's `close_link` would first send a setpoint of thrust 0, which drops a drone that flies.
        """
        link, self.cf.link = self.cf.link, None
        if link is not None:
            link.close()
        self.cf.close_link()

    # What cflib's threads call.

    def _on_lost(self, _: str, why: str) -> None:
        self.lost = why.strip().splitlines()[0]

    def _on_packet(self, packet: Any) -> None:
        if packet.header & 0xF3 != 0xF3:  # the radio's acknowledgements come from its own processor
            self._heard.heard_s = time.monotonic()

    def _on_echo(self, packet: Any) -> None:
        if len(packet.data) == 9 and packet.data[0] == _ECHO:
            taken_s = time.monotonic() - struct.unpack("<Bd", packet.data)[1]
            self._heard.round_trip_s = float(np.fmin(self._heard.round_trip_s, taken_s))

    def _on_quality(self, percent: float) -> None:
        self._heard.share, self._told_quality = percent / 100, True

    def _on_connected(self, _: str) -> None:
        toc = self.cf.log.toc.toc
        self.tells_status = "info" in toc.get("supervisor", {})
        small = "quat" in toc.get("stateEstimateZ", {})
        status = {name: kind for name, kind in _STATUS.items() if name.split(".")[1] in toc.get(name.split(".")[0], {})}
        self._start("pose", _SMALL if small else _LARGE, POSE_MS, self._on_small if small else self._on_large)
        if status:
            self._start("status", status, STATUS_MS, self._on_status)
        self.connected_s = time.monotonic()

    def _start(self, name: str, variables: Mapping[str, str], period_ms: int, listener: Any) -> None:
        block = LogConfig(name, period_ms)
        for variable, kind in variables.items():
            block.add_variable(variable, kind)
        self.cf.log.add_config(block)
        block.data_received_cb.add_callback(listener)
        block.start()

    def _on_controller(self, _: str, value: str) -> None:
        self.controller = int(value)

    def _on_small(self, ticks_ms: int, data: Mapping[str, float], _: Any) -> None:
        *state, quaternion = data.values()
        self._take(ticks_ms, metres_of(state), decompress_quaternion(quaternion))

    def _on_large(self, ticks_ms: int, data: Mapping[str, float], _: Any) -> None:
        values = np.array(list(data.values()), np.float64)
        self._take(ticks_ms, values[:6], values[6:])

    def _take(self, ticks_ms: int, state: Vector, attitude: Vector) -> None:
        now_s, heard = time.monotonic(), self._heard
        boots = heard.clock.boots
        times = heard.clock.read(ticks_ms, now_s)
        if times is None or not (np.isfinite(state).all() and np.isfinite(attitude).all()):
            return
        stamp_s, fastest_s = times
        if heard.clock.boots != boots:
            heard.info, self.status_s = None, -math.inf
        self._count(stamp_s)
        if self._filter.takes(stamp_s, state[:3], heard.airborne(self._ground_m)):
            way_s = 0.0 if math.isnan(heard.round_trip_s) else heard.round_trip_s / 2
            measured_s = fastest_s - way_s
            heard.pose = Pose(measured_s, now_s - measured_s, state[:3], state[3:], attitude)
        self.pose_s = now_s

    def _count(self, stamp_s: float) -> None:
        """Let the share of packets follow, where cflib does not tell: one came, those of the periods before did not."""
        periods = 1 if math.isnan(self._counted_s) else max(1, round(1e3 * (stamp_s - self._counted_s) / POSE_MS))
        self._counted_s = stamp_s
        if not self._told_quality:
            share = 1.0 if math.isnan(self._heard.share) else self._heard.share
            self._heard.share = share * (1 - _SHARE_GAIN) ** periods + _SHARE_GAIN

    def _on_status(self, _: int, data: Mapping[str, float], __: Any) -> None:
        self._heard.battery_v = data.get("pm.vbat", math.nan)
        info = data.get("supervisor.info")
        self._heard.info = None if info is None else int(info)
        self.status_s = time.monotonic()
