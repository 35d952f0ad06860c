"""What an autopilot does between its radio and its motors: modes, arming, failsafes; simulated, over PyBullet dynamics.

The protocol peers put their wire formats in front of it. It is no copy of any firmware: it keeps to what was measured
of them. A Crazyflie levels out half a second after the last streamed setpoint, cuts its motors 2.3 to 2.5 s after it
and stays locked until it is rebooted; PX4 leaves OFFBOARD and lands by itself within 2 s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from sortie_sim.quadrotor_motion import QuadrotorMotion

    Vector = NDArray[np.float64]

REST_M = 0.0125
"""Height of a drone's centre when it stands on the ground, m: half its body's height."""
_POSITION_GAIN_PER_S = 2.0
_MAX_CORRECTION_MPS = 1.0
_LANDING_MPS = 0.4
_TOUCHED_M = 0.02
"""A drone that is told to land has landed this near to where it rests, m."""
_AIRBORNE_M = 0.05
_FULL_V, _EMPTY_V, _ENDURANCE_S = 4.15, 3.5, 420.0
"""A Crazyflie's battery over its flight."""
BOOT_S = 1.5
"""A drone that reboots is silent for so long, s."""


class Phase(Enum):
    """What a drone is doing."""

    OFF = "off"
    READY = "ready"
    TAKING_OFF = "taking_off"
    HOLDING = "holding"
    FOLLOWING = "following"
    LANDING = "landing"
    CUT = "cut"


FLYING = {Phase.TAKING_OFF, Phase.HOLDING, Phase.FOLLOWING, Phase.LANDING}


@dataclass(frozen=True)
class Failsafe:
    """What an autopilot does when streamed setpoints stop without notice.

    Attributes:
        hold_after_s: silence after which it levels out, s.
        act_after_s: silence after which it lands, or cuts its motors, s.
        cuts: it cuts them, and is locked until it is rebooted.
    """

    hold_after_s: float
    act_after_s: float
    cuts: bool


CRAZYFLIE = Failsafe(0.5, 2.4, cuts=True)
PX4 = Failsafe(0.5, 1.0, cuts=False)


class Autopilot:
    """One simulated autopilot; the stack moves it.

    Attributes:
        phase: what it is doing.
        locked: it will not arm again until it is rebooted.
        battery_v: voltage; falls in flight.
        booted_s: time at which it is up (again), s.
        failsafe: the reason why it acts by itself; empty where it does what it is told.
        position: [3] m, where it is.
        velocity: [3] m/s.
        attitude: [4] quaternion xyzw.
    """

    def __init__(self, rules: Failsafe) -> None:
        """On the ground, switched on."""
        self.rules = rules
        self.phase = Phase.OFF
        self.locked = False
        self.battery_v = _FULL_V
        self.booted_s = 0.0
        self.failsafe = ""
        self.position, self.velocity = np.zeros(3), np.zeros(3)
        self.attitude = np.array([0.0, 0.0, 0.0, 1.0])
        self._now_s = 0.0
        self._reference, self._wanted = np.zeros(3), np.zeros(3)
        self._target_m, self._climb_mps = 0.0, 0.0
        self._heard_s = 0.0
        self._streamed_position: Vector | None = None

    @property
    def up(self) -> bool:
        """It has booted, and listens and talks."""
        return self._now_s >= self.booted_s

    @property
    def armed(self) -> bool:
        """Its motors may turn."""
        return self.phase not in (Phase.OFF, Phase.CUT)

    @property
    def airborne(self) -> bool:
        """It is off the ground."""
        return bool(self.position[2] > REST_M + _AIRBORNE_M)

    @property
    def tumbled(self) -> bool:
        """Its rotors point down."""
        x, y = self.attitude[:2]
        return bool(1 - 2 * (x * x + y * y) < 0)

    # What it is told.

    def arm(self) -> bool:
        """Whether it is armed now."""
        if self.phase is Phase.OFF and not self.locked and not self.tumbled and not self.airborne:
            self.phase, self.failsafe = Phase.READY, ""
        return self.armed

    def disarm(self) -> bool:
        """Whether it is disarmed now; refused in the air."""
        if self.armed and not self.airborne:
            self.phase = Phase.OFF
        return not self.armed

    def take_off(self, height_m: float, duration_s: float) -> bool:
        """Climb to a height above the ground; whether it does."""
        if self.phase in (Phase.READY, Phase.HOLDING):
            self.phase = Phase.TAKING_OFF
            self._reference = self.position.copy()
            self._target_m = height_m
            self._climb_mps = max(abs(height_m - self.position[2]) / max(duration_s, 0.1), 0.1)
        return self.phase is Phase.TAKING_OFF

    def follow(self, velocity: ArrayLike, position: ArrayLike | None = None) -> bool:
        """Take a streamed setpoint: velocity [3] m/s and, where given, the position [3] m that goes with it.

        One that is not finite is dropped. Whether it follows.
        """
        wanted = np.array(velocity, np.float64)
        place = None if position is None else np.array(position, np.float64)
        finite = np.isfinite(wanted).all() and (place is None or np.isfinite(place).all())
        if self.phase not in FLYING | {Phase.READY} or not finite:
            return False
        if self.phase is Phase.LANDING and self.failsafe:
            return False
        self.phase, self._wanted, self._streamed_position, self._heard_s = Phase.FOLLOWING, wanted, place, self._now_s
        return True

    def hold(self) -> bool:
        """Stay where it is, without setpoints: what ends a stream in good order."""
        if self.phase in (Phase.FOLLOWING, Phase.LANDING, Phase.TAKING_OFF):
            self.phase, self._reference = Phase.HOLDING, self.position.copy()
        return self.phase is Phase.HOLDING

    def land(self) -> bool:
        """Go down where it is, and disarm on the ground."""
        if self.phase in FLYING - {Phase.LANDING}:
            self.phase, self._reference = Phase.LANDING, self.position.copy()
        elif self.phase is Phase.READY:
            self.phase = Phase.OFF
        return self.phase in (Phase.LANDING, Phase.OFF)

    def cut(self) -> None:
        """Stop the motors at once; it is locked from now on."""
        self.phase, self.locked = Phase.CUT, True

    def reboot(self) -> None:
        """Stop the motors, forget everything, be silent for `BOOT_S`."""
        self.phase, self.locked, self.failsafe = Phase.OFF, False, ""
        self.booted_s = self._now_s + BOOT_S

    # What it does.

    def command(self, now_s: float, duration_s: float) -> Vector:
        """The velocity [3] m/s that its motors go for until the next call."""
        self._now_s = now_s
        if self.tumbled and self.phase in FLYING:
            self.failsafe = "tumbled"
            self.cut()
        if self.phase in FLYING:
            self.battery_v -= (_FULL_V - _EMPTY_V) * duration_s / _ENDURANCE_S
        if self.phase is Phase.FOLLOWING:
            return self._followed()
        if self.phase is Phase.TAKING_OFF:
            return self._climb(duration_s)
        if self.phase is Phase.LANDING:
            return self._descend()
        return self._toward(self._reference) if self.phase is Phase.HOLDING else np.zeros(3)

    def _followed(self) -> Vector:
        silent_s = self._now_s - self._heard_s
        if silent_s > self.rules.act_after_s:
            self.failsafe = "setpoints lost"
            if self.rules.cuts:
                self.cut()
            else:
                self.land()
            return np.zeros(3)
        if silent_s > self.rules.hold_after_s:
            return np.zeros(3)
        if self._streamed_position is None:
            return self._wanted
        ahead = self._streamed_position + silent_s * self._wanted
        return self._wanted + self._toward(ahead)

    def _climb(self, duration_s: float) -> Vector:
        step = math.copysign(self._climb_mps * duration_s, self._target_m - self._reference[2])
        if abs(self._target_m - self._reference[2]) <= abs(step):
            self._reference[2] = self._target_m
            if abs(self.position[2] - self._target_m) < 0.05:
                self.phase = Phase.HOLDING
            return self._toward(self._reference)
        self._reference[2] += step
        return self._toward(self._reference) + np.array([0.0, 0.0, math.copysign(self._climb_mps, step)])

    def _descend(self) -> Vector:
        if self.position[2] < REST_M + _TOUCHED_M:
            self.phase = Phase.OFF
            return np.zeros(3)
        aside = self._toward(self._reference)
        return np.array([aside[0], aside[1], -_LANDING_MPS])

    def _toward(self, place: Vector) -> Vector:
        pull = _POSITION_GAIN_PER_S * (place - self.position)
        length = float(np.linalg.norm(pull))
        return pull if length <= _MAX_CORRECTION_MPS else pull * (_MAX_CORRECTION_MPS / length)


class FlightStack:
    """N simulated autopilots over the motion of N quadrotors.

    Args:
        motion: of all of them; with collisions, wakes and the ground, where it has them.
        place: [N, 2] m, where they stand, ENU.
        rules: what they do when setpoints stop.

    Attributes:
        autopilots: by number.
        now_s: time since the start, s.
    """

    def __init__(self, motion: QuadrotorMotion, place: ArrayLike, rules: Failsafe) -> None:
        """Put all drones on the ground, motors off."""
        self._motion = motion
        ground = np.asarray(place, np.float64)
        self.autopilots = [Autopilot(rules) for _ in ground]
        self.now_s = 0.0
        motion.reset(np.column_stack([ground, np.full(len(ground), REST_M)]))
        motion.powered[:] = False
        self._read()

    def advance(self, duration_s: float) -> None:
        """Fly for `duration_s`, s; setpoints that came since the last call take effect now."""
        command = np.stack([each.command(self.now_s, duration_s) for each in self.autopilots])
        self._motion.powered[:] = [each.phase in FLYING for each in self.autopilots]
        self._motion.step(command, duration_s)
        self.now_s += duration_s
        self._read()

    def _read(self) -> None:
        position, velocity, attitude = self._motion.position, self._motion.velocity, self._motion.attitude
        for k, autopilot in enumerate(self.autopilots):
            autopilot.position, autopilot.velocity, autopilot.attitude = position[k], velocity[k], attitude[k]
