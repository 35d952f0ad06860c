"""The checks that every velocity command passes before a drone sees it.

In this order: is the drone's state known, is there a command, is it young, is it finite; then speed, acceleration; then
the fence and the separation shield, which come last, for they may brake harder than the acceleration limit allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from sortie_safety.fence import Fence
from sortie_safety.half_spaces import nearest_allowed
from sortie_safety.shield import Braking, Others, make_shield

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_core.config import Config

    Vector = NDArray[np.float64]

LANDING_SPEED_MPS = 0.5
"""Descent when a drone is landed for silence."""
_FORGIVEN_S = 5e-7
"""What seconds and nanoseconds lose as one float."""
_LATE = 1.05
"""A gate is late if the time since its last setpoint is so many of its periods."""
_FORGOTTEN_S = 10.0
"""Time in which a gate forgets how late it has been, s."""
_ABSURD = 1e4
"""Nobody is so far away, m, or so fast, m/s: such numbers are faults, and there is no reckoning with them."""


class Intervention(Enum):
    """Why a setpoint is not the command."""

    ODOMETRY_INVALID = "odometry_invalid"
    ODOMETRY_STALE = "odometry_stale"
    COMMAND_INVALID = "command_invalid"
    SILENCE_HOVER = "silence_hover"
    SILENCE_LANDING = "silence_landing"
    SPEED = "speed"
    ACCELERATION = "acceleration"
    GEOFENCE = "geofence"
    SEPARATION = "separation"


@dataclass(frozen=True)
class Command:
    """A velocity that is wanted.

    Attributes:
        time_s: when, s.
        velocity: [3] m/s.
    """

    time_s: float
    velocity: Vector


@dataclass(frozen=True)
class Kinematics:
    """Where a drone is, and how it moves.

    Attributes:
        time_s: when, s.
        position: [3] m.
        velocity: [3] m/s.
    """

    time_s: float
    position: Vector
    velocity: Vector

    @cached_property
    def finite(self) -> bool:
        """All of it are numbers, and none is absurd."""
        return bool((np.abs(self.position) < _ABSURD).all() and (np.abs(self.velocity) < _ABSURD).all())


def braking_of(config: Config, period_s: float) -> Braking:
    """How drones of a configuration brake, if they are told to once in `period_s`, s."""
    accel_mps2 = min(config.world.max_accel_mps2, config.safety.max_accel_mps2)
    lag_s = config.world.velocity_time_constant_s
    answered = 1.0 - math.exp(-period_s / lag_s)
    # What was chosen is held for a period, whatever happens.
    return Braking(accel_mps2, config.safety.reaction_s + period_s, answered, config.safety.max_speed_mps)


class SafetyGate:
    """The gate of one drone; remembers the last setpoint.

    Args:
        config: for section `safety`, the arena and the limits of the world.
        period_s: it works once in this time; None = once a tick.
    """

    def __init__(self, config: Config, period_s: float | None = None) -> None:
        """Start from hover."""
        self._limits, self._period_s = config.safety, period_s or config.world.dt_s
        self._braking = braking_of(config, self._period_s)
        self.fence = Fence.of(config, self._braking)
        self._shield = make_shield(config, self._braking, self._period_s)
        self._late_s = 0.0
        self._axes = config.task.dimensions  # in 2-D, drones keep apart in plan, lest one flies in another's wake
        self._last: Command | None = None

    def setpoint(
        self, now_s: float, command: Command | None, own: Kinematics | None, others: Others | None = None
    ) -> tuple[Vector, set[Intervention]]:
        """What the drone may do.

        Args:
            now_s: s, by the clock that `command` and `own` are stamped with.
            command: what is wanted; None before the first one.
            own: where the drone is; None before it is known.
            others: who flies near, with task.dimensions axes; None for nobody.

        Returns:
            The velocity [3] m/s, always finite and within the limits, and why it differs from the command.
        """
        self._reckon_with_delay(now_s)
        wanted, reasons = self._wanted(now_s, command, own)
        speed = math.hypot(*wanted)
        if speed > self._limits.max_speed_mps:
            wanted = wanted * (self._limits.max_speed_mps / speed)
            reasons.add(Intervention.SPEED)
        steady = self._eased(now_s, wanted)
        if not np.array_equal(steady, wanted) and not reasons - {Intervention.SPEED}:
            reasons.add(Intervention.ACCELERATION)
        if self._known(own):
            steady = self._kept_in(steady, own, others, reasons)
        self._last = Command(now_s, steady)
        return steady, reasons

    def _reckon_with_delay(self, now_s: float) -> None:
        """Who has been kept waiting for the next setpoint may be so again; for safety.stale_after_s, vehicles wait."""
        if self._last is None:
            return
        since_s = now_s - self._last.time_s
        late_s = min(since_s, self._limits.stale_after_s) - self._period_s if since_s > _LATE * self._period_s else 0.0
        self._late_s = max(late_s, self._late_s * math.exp(-max(since_s, 0.0) / _FORGOTTEN_S))
        self._braking.reaction_s = self._limits.reaction_s + self._period_s + self._late_s

    def _wanted(
        self, now_s: float, command: Command | None, own: Kinematics | None
    ) -> tuple[Vector, set[Intervention]]:
        """The command, or what takes its place."""
        hover, limits = np.zeros(3), self._limits
        if command is None or now_s - command.time_s > limits.land_after_s + _FORGIVEN_S:
            return np.array([0.0, 0.0, -LANDING_SPEED_MPS]), {Intervention.SILENCE_LANDING}
        if not self._known(own):
            return hover, {Intervention.ODOMETRY_INVALID}
        if now_s - own.time_s > limits.stale_after_s + _FORGIVEN_S:
            return hover, {Intervention.ODOMETRY_STALE}
        if now_s - command.time_s > limits.stale_after_s + _FORGIVEN_S:
            return hover, {Intervention.SILENCE_HOVER}
        if not np.isfinite(command.velocity).all():
            return hover, {Intervention.COMMAND_INVALID}
        return np.array(command.velocity, np.float64), set()

    def _eased(self, now_s: float, wanted: Vector) -> Vector:
        """`wanted`, no farther from the last setpoint than the acceleration limit allows."""
        if self._last is None:
            return wanted
        most = self._limits.max_accel_mps2 * max(now_s - self._last.time_s, self._period_s)
        change = wanted - self._last.velocity
        size = float(np.linalg.norm(change))
        return wanted if size <= most else self._last.velocity + change * (most / size)

    def _kept_in(self, wanted: Vector, own: Kinematics, others: Others | None, reasons: set[Intervention]) -> Vector:
        """The nearest velocity that neither leads out of the fence nor into others."""
        normal, bound = self.fence.half_spaces(own.position, own.velocity)
        if Intervention.SILENCE_LANDING in reasons:
            normal, bound = np.delete(normal, -2, axis=0), np.delete(bound, -2)  # the ground lies below the fence
        if (normal @ wanted < bound).any():
            reasons.add(Intervention.GEOFENCE)
        n_soft = 0
        if others is not None and len(others.position):
            axes = self._axes
            apart, least = self._shield.half_spaces(own.position[:axes], own.velocity[:axes], others)
            if (apart @ wanted[:axes] < least).any():
                reasons.add(Intervention.SEPARATION)
            n_soft, in_space = len(apart), np.zeros((len(apart), 3))
            in_space[:, :axes] = apart
            normal, bound = np.vstack([in_space, normal]), np.append(least, bound)
        allowed = nearest_allowed(wanted, normal, bound, n_soft=n_soft)
        # Toward hover, whatever may be braked away stays allowed.
        return allowed * min(1.0, self._limits.max_speed_mps / max(math.hypot(*allowed), 1e-9))

    @staticmethod
    def _known(own: Kinematics | None) -> TypeGuard[Kinematics]:
        return own is not None and own.finite
