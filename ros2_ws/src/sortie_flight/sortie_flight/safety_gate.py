"""The checks that every velocity command passes before a drone sees it. No ROS in here.

In this order: is the drone's state known, is there a command, is it young, is it finite; then speed, acceleration,
fence. The fence comes last, for it may brake harder than the acceleration limit on commands allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_core.config import Config

    Vector = NDArray[np.floating]

LANDING_SPEED_MPS = 0.5
"""Descent when a drone is landed for silence."""


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


@dataclass(frozen=True)
class Stamped:
    """A vector and the mission time that it belongs to.

    Attributes:
        time_s: s.
        value: [3].
    """

    time_s: float
    value: Vector


@dataclass(frozen=True)
class Fence:
    """A box that drones must not leave.

    Attributes:
        low: [3] m, world frame.
        high: [3] m.
        braking_mps2: deceleration that a drone is sure to reach, m/s^2.
    """

    low: Vector
    high: Vector
    braking_mps2: float

    @classmethod
    def of(cls, config: Config) -> Fence:
        """The arena with safety.geofence_margin_m around it, between safety.z_min_m and safety.z_max_m."""
        half_m = config.arena_half_m + config.safety.geofence_margin_m
        return cls(
            np.array([-half_m, -half_m, config.safety.z_min_m]),
            np.array([half_m, half_m, config.safety.z_max_m]),
            min(config.world.max_accel_mps2, config.safety.max_accel_mps2),
        )

    def limit(self, position: Vector, velocity: Vector, reaction_s: float) -> Vector:
        """A velocity whose part toward each wall can still be braked away before it.

        Solves ``v t + v^2 / (2 a) = d`` for the largest v, with reaction time t, braking a and distance d to the wall;
        behind a wall only the way back remains.

        Args:
            position: [3] m.
            velocity: [3] m/s.
            reaction_s: how long the velocity is held before the next one is chosen, s.
        """
        up = self._toward(self.high - position, reaction_s)
        down = self._toward(position - self.low, reaction_s)
        return np.clip(velocity, -down, up)

    def _toward(self, distance_m: Vector, reaction_s: float) -> Vector:
        a = self.braking_mps2
        room_m = np.maximum(distance_m, 0.0)
        return a * (np.sqrt(reaction_s**2 + 2.0 * room_m / a) - reaction_s)


class SafetyGate:
    """The gate of one drone; remembers the last setpoint.

    Args:
        config: for section `safety`, the arena and the tick.
    """

    def __init__(self, config: Config) -> None:
        """Start from hover."""
        self._limits, self._dt_s = config.safety, config.world.dt_s
        self._fence = Fence.of(config)
        self._last: Stamped | None = None

    def setpoint(
        self, now_s: float, command: Stamped | None, position: Stamped | None
    ) -> tuple[Vector, set[Intervention]]:
        """What the drone may do.

        Args:
            now_s: mission time, s.
            command: velocity wanted, m/s, world frame; None before the first one.
            position: where the drone is, m; None before it is known.

        Returns:
            The velocity [3] m/s, always finite, and why it differs from the command.
        """
        wanted, reasons = self._wanted(now_s, command, position)
        speed = math.hypot(*wanted)
        if speed > self._limits.max_speed_mps:
            wanted = wanted * (self._limits.max_speed_mps / speed)
            reasons.add(Intervention.SPEED)
        steady = self._eased(now_s, wanted)
        if not np.array_equal(steady, wanted) and not reasons - {Intervention.SPEED}:
            reasons.add(Intervention.ACCELERATION)
        if self._known(position):
            fenced = self._fence.limit(position.value, steady, self._dt_s)
            if Intervention.SILENCE_LANDING in reasons:
                fenced[2] = steady[2]  # the ground lies below the fence
            if not np.array_equal(fenced, steady):
                reasons.add(Intervention.GEOFENCE)
            steady = fenced
        self._last = Stamped(now_s, steady)
        return steady, reasons

    def _wanted(
        self, now_s: float, command: Stamped | None, position: Stamped | None
    ) -> tuple[Vector, set[Intervention]]:
        """The command, or what takes its place."""
        hover = np.zeros(3)
        # Half a microsecond forgives what seconds and nanoseconds lose as one float.
        if command is None or now_s - command.time_s > self._limits.land_after_s + 5e-7:
            return np.array([0.0, 0.0, -LANDING_SPEED_MPS]), {Intervention.SILENCE_LANDING}
        if not self._known(position):
            return hover, {Intervention.ODOMETRY_INVALID}
        if now_s - position.time_s > self._limits.stale_after_s + 5e-7:
            return hover, {Intervention.ODOMETRY_STALE}
        if now_s - command.time_s > self._limits.stale_after_s + 5e-7:
            return hover, {Intervention.SILENCE_HOVER}
        if not np.isfinite(command.value).all():
            return hover, {Intervention.COMMAND_INVALID}
        return np.array(command.value, np.float64), set()

    def _eased(self, now_s: float, wanted: Vector) -> Vector:
        """`wanted`, no farther from the last setpoint than the acceleration limit allows."""
        if self._last is None:
            return wanted
        most = self._limits.max_accel_mps2 * max(now_s - self._last.time_s, self._dt_s)
        change = wanted - self._last.value
        size = float(np.linalg.norm(change))
        return wanted if size <= most else self._last.value + change * (most / size)

    @staticmethod
    def _known(position: Stamped | None) -> TypeGuard[Stamped]:
        return position is not None and bool(np.isfinite(position.value).all())
