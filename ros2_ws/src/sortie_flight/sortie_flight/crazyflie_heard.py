"""What is heard of a Crazyflie, over whichever connection, and when by this machine's clock.

cflib listens in threads of its own. They put whole objects in here, so that others may read at any time without a lock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

FLYING, TUMBLED, LOCKED, CRASHED = 0x10, 0x20, 0x40, 0x80
"""Bits of supervisor.info, as are those below."""
CAN_BE_ARMED, ARMED, AUTO_ARM, PLANNED = 0x01, 0x02, 0x04, 0x100
AIRBORNE_M = 0.1
"""Off the ground, where the firmware does not tell, m."""

_TURN_MS = 1 << 24
_REBOOT_S = 1.0
"""A clock that has lost more than this has started anew, s."""
_LATE_S = 60.0
"""No packet is so late: a clock that has gained more than this against ours has started anew, and been around, s."""
_DRIFT = 1e-4
"""How much faster one clock may be than the other."""
_MODES = {
    LOCKED: "locked",
    CRASHED: "crashed",
    TUMBLED: "tumbled",
    FLYING: "flying",
    ARMED: "armed",
    CAN_BE_ARMED: "ready",
}
_FAILSAFES = {
    LOCKED: "motors cut and locked; look at it and reboot it",
    CRASHED: "motors cut after a crash; look at it and reboot it",
    TUMBLED: "tumbled; put it on its feet",
}


class OnBoardClock:
    """Maps the 24-bit millisecond stamps of a Crazyflie to this machine's monotonic clock.

    The offset is the smallest one seen, since the packet that took the least time tells it best; it may grow slowly, as
    the clocks drift apart.

    Attributes:
        boots: how often it has been seen to start anew.
    """

    def __init__(self) -> None:
        """It has not been seen yet."""
        self.boots = 0
        self._ticks_ms, self._stamp_s, self._now_s = 0, math.nan, math.nan
        self._offset_s = math.inf
        self._fresh = True

    def reconnect(self) -> None:
        """The next stamp comes over a new connection: it may be a rebooted drone's."""
        self._fresh = True

    def read(self, ticks_ms: int, now_s: float) -> tuple[float, float] | None:
        """Take a stamp.

        Args:
            ticks_ms: the stamp, modulo 2^24.
            now_s: when it was received, monotonic clock, s.

        Returns:
            Time on board since boot, s, and the same moment by this machine's clock as if the fastest packet had taken
            no time, s. None for a packet that another one has overtaken.
        """
        if math.isnan(self._stamp_s):
            step_s = self._start(ticks_ms)
        else:
            step_s = _signed(ticks_ms - self._ticks_ms)
            passed_s = now_s - self._now_s
            # a clock that goes on gains as much as ours, but for what packets are late; within a connection it gains
            ahead_s = _signed(ticks_ms - self._ticks_ms - round(1e3 * passed_s))
            slip_s = ahead_s if self._fresh else step_s
            if slip_s < -_REBOOT_S or ahead_s > _LATE_S:
                self.boots += 1
                step_s = self._start(ticks_ms)
            elif self._fresh:
                step_s = passed_s + slip_s
            elif step_s <= 0:
                return None
        drift_s = 0.0 if math.isnan(self._now_s) else _DRIFT * (now_s - self._now_s)
        self._fresh, self._ticks_ms, self._now_s = False, ticks_ms, now_s
        self._stamp_s += step_s
        self._offset_s = min(now_s - self._stamp_s, self._offset_s + drift_s)
        return self._stamp_s, self._stamp_s + self._offset_s

    def _start(self, ticks_ms: int) -> float:
        self._stamp_s, self._offset_s = ticks_ms / 1e3, math.inf
        return 0.0


def _signed(ticks_ms: int) -> float:
    """A difference of stamps, s, the shorter way around."""
    return ((ticks_ms + _TURN_MS // 2) % _TURN_MS - _TURN_MS // 2) / 1e3


@dataclass(frozen=True)
class Pose:
    """Where a Crazyflie was.

    Attributes:
        measured_s: when, monotonic clock, s.
        latency_s: how long it took to get here, s.
        position: [3] m, in its local frame.
        velocity: [3] m/s.
        attitude: [4] quaternion xyzw.
    """

    measured_s: float
    latency_s: float
    position: Vector
    velocity: Vector
    attitude: Vector


@dataclass
class Heard:
    """All that was last heard of a Crazyflie, over whichever connection.

    Attributes:
        clock: its own.
        pose: the newest measurement; None before the first.
        info: bits of supervisor.info; None where it is not known.
        battery_v: nan where it is not known.
        heard_s: when anything was heard, monotonic clock, s.
        share: of packets that come through, 0 to 1.
        round_trip_s: shortest time to the drone and back, s; nan before the first.
    """

    clock: OnBoardClock = field(default_factory=OnBoardClock)
    pose: Pose | None = None
    info: int | None = None
    battery_v: float = math.nan
    heard_s: float = -math.inf
    share: float = math.nan
    round_trip_s: float = math.nan

    def airborne(self, ground_m: float) -> bool:
        """Whether it is off the ground, which lies at `ground_m`, m, in its local frame."""
        if self.info is not None:
            return bool(self.info & FLYING)
        return self.pose is not None and bool(self.pose.position[2] > ground_m + AIRBORNE_M)

    @property
    def locked(self) -> bool:
        """Whether it will not fly until somebody has looked at it."""
        return bool((self.info or 0) & (LOCKED | CRASHED | TUMBLED))

    @property
    def mode(self) -> str:
        """What it does, by its supervisor; empty where that is not known."""
        if self.info is None:
            return ""
        return next((name for bit, name in _MODES.items() if self.info & bit), "not ready")

    @property
    def failsafe(self) -> str:
        """Why its motors stand still by themselves; empty where they do not."""
        return next((why for bit, why in _FAILSAFES.items() if (self.info or 0) & bit), "")
