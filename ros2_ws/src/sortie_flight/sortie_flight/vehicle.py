"""What flies one drone: one interface, behind it Crazyswarm2, cflib, MAVLink or a simulated autopilot.

A vehicle is told again and again what it should be doing, and works out for itself what has to be sent for that. So a
packet that is lost is made up for by the next call, and a drone that reboots in flight is not armed again by accident,
since only `Mode.ARM` arms. World frame ENU, m, s, rad; see `sortie_core.frames`.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


class Mode(IntEnum):
    """What a drone should be doing; numbers as in Setpoint.msg."""

    GROUND = 0
    """Stand disarmed."""
    ARM = 1
    """Stand armed."""
    TAKE_OFF = 2
    """Climb to the setpoint's height where it is, and stay there."""
    FOLLOW = 3
    """Fly at the setpoint's velocity."""
    LAND = 4
    """Go down where it is, and disarm."""
    EMERGENCY = 5
    """Motors off, at once, wherever it is; it stays so."""


@dataclass(frozen=True)
class Setpoint:
    """What a drone should be doing.

    Attributes:
        mode: see `Mode`.
        velocity: [3] m/s, where it should follow.
        height_m: above the ground, where it should take off.
    """

    mode: Mode
    velocity: Vector = field(default_factory=lambda: np.zeros(3))
    height_m: float = 0.0


@dataclass(frozen=True)
class Capabilities:
    """What the other side of a link can do.

    Attributes:
        arm: it can be armed and disarmed; else its motors turn with the take-off.
        status: it tells battery, link and whether it is armed.
        velocity: it takes velocities; else it is sent positions ahead of it.
        emergency: it can cut its motors.
        remarks: what people should know about it, in lines.
    """

    arm: bool = True
    status: bool = True
    velocity: bool = True
    emergency: bool = True
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class VehicleState:
    """What is known of a vehicle.

    Attributes:
        measured_s: when the pose was measured, by this machine's monotonic clock, s; -inf before the first.
        latency_s: how long the last pose was on its way, as far as it can be told, s.
        position: [3] m.
        velocity: [3] m/s.
        attitude: [4] quaternion xyzw, body to world.
        heard_s: when anything was last heard, monotonic clock, s; -inf before.
        armed: its motors may turn.
        airborne: it is off the ground.
        locked: it will not fly until somebody has looked at it: emergency, crash.
        battery_v: V; nan where it is not told.
        link: share of packets that come through, 0 to 1; nan where it is not told.
        boots: how often it has been seen to start anew since the link was opened.
        mode: the autopilot's own name of what it does.
        failsafe: why it acts by itself; empty where it does what it is told.
    """

    measured_s: float = -math.inf
    latency_s: float = math.nan
    position: Vector = field(default_factory=lambda: np.full(3, math.nan))
    velocity: Vector = field(default_factory=lambda: np.full(3, math.nan))
    attitude: Vector = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    heard_s: float = -math.inf
    armed: bool = False
    airborne: bool = False
    locked: bool = False
    battery_v: float = math.nan
    link: float = math.nan
    boots: int = 0
    mode: str = ""
    failsafe: str = ""


class VehicleError(Exception):
    """A vehicle cannot be reached or used: one line that says why and how to mend it."""


class Vehicle(ABC):
    """One drone. No method waits for the other side; all may be called from one thread only.

    Attributes:
        capabilities: as far as they are known; they may change while the link is being opened.
    """

    capabilities: Capabilities = Capabilities()

    @staticmethod
    @abstractmethod
    def check(address: str) -> None:
        """Find out whether a link could be opened at an address, without opening it.

        Raises:
            VehicleError: it could not: the address is wrong, or what drives the link is not there.
        """

    @abstractmethod
    def open(self) -> None:
        """Start to open the link; the state tells when something is heard.

        Raises:
            VehicleError: the address is wrong, or what drives the link is not there.
        """

    @abstractmethod
    def state(self) -> VehicleState:
        """The newest that is known."""

    @abstractmethod
    def command(self, setpoint: Setpoint) -> None:
        """Do something for what the drone should be doing; called at flight.setpoint_hz, silence means trouble.

        What has no effect yet is sent again at a rate that the link can bear. `Mode.EMERGENCY` is sent at once and more
        than once.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the link; what flies then is left to its autopilot's failsafe. Further calls do nothing."""


class Repeat:
    """Lets something through at most once in a while, separately by name.

    Args:
        period_s: the while.
    """

    def __init__(self, period_s: float) -> None:
        """Let everything through at first."""
        self._period_s = period_s
        self._last_s: dict[str, float] = {}

    def due(self, name: str) -> bool:
        """Whether it is time again."""
        now_s = time.monotonic()
        if now_s - self._last_s.get(name, -math.inf) < self._period_s:
            return False
        self._last_s[name] = now_s
        return True


class PoseFilter:
    """Tells a new measurement of a pose from an old one that is sent again.

    An estimator that has come to a stop goes on sending, and its stamps advance. But two measurements of a drone that
    flies never agree to the last bit, so a position that does is not taken for a measurement. On the ground it may be.
    """

    def __init__(self) -> None:
        """Nothing has been measured yet."""
        self._stamp_s = -math.inf
        self._position: Vector = np.full(3, math.nan)

    def takes(self, stamp_s: float, position: Vector, airborne: bool) -> bool:
        """Whether this is a new measurement.

        Args:
            stamp_s: when it was made, by whatever clock, s.
            position: [3] m.
            airborne: the drone is off the ground.
        """
        if not stamp_s > self._stamp_s or not np.isfinite(position).all():
            return False
        self._stamp_s = stamp_s
        if airborne and np.array_equal(position, self._position):
            return False
        self._position = position
        return True
