"""A MAVLink 2 link to one autopilot: its messages, how many of them get lost, and what its clock shows."""

from __future__ import annotations

import math
import re
import select
import socket
import threading
import time
from collections import deque
from typing import Any

from pymavlink import mavutil
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_flight.vehicle import VehicleError

GROUND_STATION = 255
"""Our own system id: the one that ArduPilot's GCS failsafe listens to unless SYSID_MYGCS says otherwise."""
AUTOPILOT = mavlink.MAV_COMP_ID_AUTOPILOT1
_KINDS = "udpin:host:port, udpout:host:port, tcp:host:port or /dev/ttyUSB0,57600"
_CONNECT_S = 1.0
_MOST_WAITING = 4096
"""Packets that nobody has asked for; older ones are dropped."""
_MEMORY = 0.99
"""What a packet counts for in the share of lost ones, once the next has come."""
_REORDERED = 200
"""A gap this wide in the 256 sequence numbers is a late packet, not so many lost ones."""
_SYNC_SAMPLES = 10
_STAMP_S = 0.002
"""Stamps of poses are whole milliseconds."""


class _Tcp(mavutil.mavtcp):
    """A TCP connection that says nothing and does not wait long; `Link` opens it again."""

    def do_connect(self) -> None:
        self.port = socket.create_connection(self.destination_addr, timeout=_CONNECT_S)
        self.port.setblocking(False)
        self.port.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle_disconnect(self) -> None:
        pass

    def handle_eof(self) -> None:
        pass


def _connect(address: str) -> Any:
    """A connection of pymavlink's.

    Raises:
        VehicleError: it cannot be opened.
    """
    kind, _, place = address.partition(":")
    try:
        if kind in ("udpin", "udp"):
            host, port = place.split(":")
            # pymavlink would share the port with whoever has it, and miss the packets that the other one gets.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, int(port)))
        elif kind == "tcp":
            return _Tcp(place)
        elif kind == "udpout":  # pymavlink would look the name up at the first packet, and keep a failure to itself
            host, port = place.split(":")
            socket.getaddrinfo(host, int(port))
        elif not address.startswith(("/dev/", "COM")):
            raise ValueError("no such kind of link")
        return mavutil.mavlink_connection(address)
    except ImportError as error:
        raise VehicleError(f"flight.address: {address} needs pyserial; pip install pyserial") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise VehicleError(f"flight.address: {address}: {error}; it must be {_KINDS}") from error
    except OSError as error:
        mend = "stop what else uses it, or set another address"
        if kind in ("udpin", "udp"):
            mend = "stop what else listens there (a ground station, another flight), or set flight.first_port"
        elif kind == "tcp":
            mend = "start what should listen there, or set another address"
        raise VehicleError(f"flight.address: {address}: {error.strerror or error}; {mend}") from error


def check_address(address: str) -> None:
    """Find out whether a link could be opened; whether somebody listens at a TCP address shows only later.

    Raises:
        VehicleError: it could not.
    """
    if address.startswith("tcp:"):
        if not re.fullmatch(r"tcp:[^:]+:\d+", address):
            raise VehicleError(f"flight.address: {address}; it must be {_KINDS}")
        return
    _connect(address).close()


class Link:
    """A link to the autopilot of one system; what others say on it is not heard.

    A thread stamps what arrives, so that stamps do not depend on when somebody asks; all else is done by who asks.

    Args:
        address: as `mavutil.mavlink_connection` takes it.
        system: the autopilot's system id.

    Attributes:
        share: of the autopilot's packets that came through lately, 0 to 1; nan before the first.
        strangers: system ids of other autopilots on the link.
    """

    def __init__(self, address: str, system: int) -> None:
        """Open nothing yet."""
        self._address, self._system = address, system
        self._datagrams = address.startswith("udp")
        self._codec = mavlink.MAVLink(None, srcSystem=GROUND_STATION, srcComponent=mavlink.MAV_COMP_ID_MISSIONPLANNER)
        self._codec.robust_parsing = True
        self._connection: Any = None
        self._waiting: deque[tuple[float, bytes]] = deque(maxlen=_MOST_WAITING)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._listen, name=f"mavlink {system}", daemon=True)
        self._sequence: int | None = None
        self._came, self._lost = 0.0, 0.0
        self.share = math.nan
        self.strangers: set[int] = set()

    def open(self) -> None:
        """Open the link.

        Raises:
            VehicleError: the address is wrong or taken.
        """
        self._connection = _connect(self._address)
        self._reader.start()

    def close(self) -> None:
        """Close it; further calls do nothing."""
        if self._connection is not None and not self._closing.is_set():
            self._closing.set()
            self._reader.join()
            self._connection.close()

    def send(self, message: Any) -> None:
        """Send one message, without waiting and without knowing whether it arrives."""
        data = message.pack(self._codec)
        self._codec.seq = (self._codec.seq + 1) % 256
        with self._lock:  # pymavlink notes who sent while it receives, and sends to all of these
            self._connection.write(data)

    def read(self) -> list[tuple[float, Any]]:
        """The autopilot's messages since the last call, each with the monotonic time of its arrival, s."""
        found = []
        while self._waiting:
            arrived_s, data = self._waiting.popleft()
            if self._datagrams:  # rubbish at the end of one does not swallow the beginning of the next
                self._codec.buf, self._codec.buf_index = bytearray(), 0
            for message in self._codec.parse_buffer(data) or ():
                if self._is_ours(message):
                    found.append((arrived_s, message))
        return found

    def _is_ours(self, message: Any) -> bool:
        kind = message.get_type()
        if kind == "BAD_DATA":
            return False
        if kind.startswith("UNKNOWN"):  # of another dialect; it still has a sequence number
            raw = message.data
            sequence, system, component = raw[4:7] if raw[0] == mavlink.PROTOCOL_MARKER_V2 else raw[2:5]
        else:
            sequence, system, component = message.get_seq(), message.get_srcSystem(), message.get_srcComponent()
        if component != AUTOPILOT or system != self._system:
            if component == AUTOPILOT and kind == "HEARTBEAT":
                self.strangers.add(system)
            return False
        self._count(sequence)
        return True

    def _count(self, sequence: int) -> None:
        gap = 0 if self._sequence is None else (sequence - self._sequence - 1) % 256
        if gap >= _REORDERED:
            return
        self._sequence = sequence
        self._came, self._lost = _MEMORY * self._came + 1, _MEMORY * self._lost + gap
        self.share = self._came / (self._came + self._lost)

    def restart(self) -> None:
        """The autopilot counts its packets anew."""
        self._sequence = None

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                if not select.select([self._connection.fd], [], [], 0.1)[0]:
                    continue
                with self._lock:
                    data = self._connection.recv(4096)
                if data:
                    self._waiting.append((time.monotonic(), bytes(data)))
                    continue
                if self._datagrams:
                    continue
            except (OSError, ValueError):  # unplugged, reset
                pass
            self._reopen()

    def _reopen(self) -> None:
        self._connection.close()
        while not self._closing.wait(_CONNECT_S):
            try:
                connection = _connect(self._address)
            except VehicleError:
                continue
            with self._lock:
                self._connection = connection
            return


class Clock:
    """When, by our monotonic clock, an autopilot's clock showed a time.

    Each reply to TIMESYNC bounds the difference of the clocks to half its round trip about the middle of it. Of the
    last ones that with the shortest round trip counts; one that contradicts it means that a clock has jumped.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._asked: deque[int] = deque(maxlen=_SYNC_SAMPLES)
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SYNC_SAMPLES)
        self._best = (math.inf, math.nan)

    def ask(self) -> Any:
        """The next request."""
        now_ns = time.monotonic_ns()
        self._asked.append(now_ns)
        return mavlink.MAVLink_timesync_message(0, now_ns)

    def take(self, reply: Any, arrived_s: float) -> None:
        """Learn from a reply to one of our requests; others are left alone."""
        if reply.tc1 == 0 or reply.ts1 not in self._asked:
            return
        self._asked.remove(reply.ts1)
        asked_s = reply.ts1 / 1e9
        trip_s, ahead_s = arrived_s - asked_s, (arrived_s + asked_s) / 2 - reply.tc1 / 1e9
        best_trip_s, best_ahead_s = self._best
        if abs(ahead_s - best_ahead_s) > (trip_s + best_trip_s) / 2 + _STAMP_S:
            self._samples.clear()
        self._samples.append((trip_s, ahead_s))
        self._best = min(self._samples)

    def ours(self, theirs_s: float) -> float:
        """Our time, s, for the autopilot's time since it started, s; nan while that is unknown."""
        return theirs_s + self._best[1]
