"""Keeps drones apart: each drone's own half-spaces of velocity, from its neighbours' last known states.

Two shields behind one interface, both decentralised and reciprocal, that is, of two drones that know of each other each
does half of what is needed; for one that does not take part, the other does all of it.

barrier: a control-barrier function. If both drones of a pair begin to brake now, they must come to stand no nearer than
    the separation D: ``d - D - s(v_i) - s(v_j) >= 0`` with ``s(v) = v t + v^2 / (2 a)``, v the speed toward the
    other, reaction time t and braking a. That the one in front may have to stop for a third is thereby allowed for. A
    drone that is faster than that is told to brake by as much more as its lag swallows.
orca: optimal reciprocal collision avoidance (van den Berg, Guy, Lin, Manocha, "Reciprocal n-body collision avoidance",
    2011): velocities that stay out of each other's velocity obstacle for a time horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_core.config import Config

    Array = NDArray[np.float64]

_ORCA_HORIZON_S = 1.5
_PARTING = 0.3
"""Two that are too near and both know it part at this share of the speed they could: haste drives them into a third."""
_TINY = 1e-9


@dataclass(frozen=True)
class Others:
    """What one drone knows of the others that are near.

    Attributes:
        position: [K, D] m.
        velocity: [K, D] m/s.
        cooperative: [K] bool, whether they avoid it as it avoids them.
    """

    position: Array
    velocity: Array
    cooperative: NDArray[np.bool_]


class Shield(Protocol):
    """Which velocities keep one drone apart from others."""

    def half_spaces(self, position: Array, velocity: Array, others: Others) -> tuple[Array, Array]:
        """Normals [K, D], unit vectors, and bounds [K] m/s, for `half_spaces.nearest_allowed`.

        Args:
            position: [D] m.
            velocity: [D] m/s.
            others: who is near.
        """
        ...


@dataclass
class Braking:
    """How a drone gets rid of speed; one of these is shared by all that reckon with it.

    Attributes:
        accel_mps2: deceleration that it is sure to reach, m/s^2.
        reaction_s: time until it begins, s; longer where the gate is late.
        answered: share of a small change of its command that it has followed after one period of the gate.
        full_mps: change of its command from which on it brakes as hard as it can, m/s.
    """

    accel_mps2: float
    reaction_s: float
    answered: float
    full_mps: float

    def stopping_m(self, speed: Array) -> Array:
        """How far drones go on until they stand, m: ``v t + v^2 / (2 a)``; backward at once, ``-v^2 / (2 a)``.

        Args:
            speed: [K] m/s.
        """
        way: Array = np.maximum(speed, 0.0) * self.reaction_s + speed * np.abs(speed) / (2 * self.accel_mps2)
        return way

    def allowed_mps(self, room_m: Array, share: float = 1.0) -> Array:
        """The speeds [K] m/s that can still be braked away within distances; where those are negative, back.

        Args:
            room_m: [K] m.
            share: of the deceleration that is there for it.
        """
        accel, size = share * self.accel_mps2, np.abs(room_m)
        speed: Array = accel * (np.sqrt(self.reaction_s**2 + 2 * size / accel) - self.reaction_s)
        return np.copysign(speed, room_m)

    def commanded_mps(self, speed: Array, allowed: Array) -> Array:
        """The speeds [K] to command: the allowed ones, or less where the lag would swallow part of the braking."""
        harder = speed - np.minimum((speed - allowed) / self.answered, self.full_mps)
        return np.where(speed > allowed, np.minimum(harder, allowed), allowed)


class Barrier:
    """The control-barrier shield.

    Args:
        separation_m: D.
        braking: of each drone.
    """

    def __init__(self, separation_m: float, braking: Braking) -> None:
        self._separation_m, self._braking = separation_m, braking

    def half_spaces(self, position: Array, velocity: Array, others: Others) -> tuple[Array, Array]:
        """See `Shield`."""
        toward = others.position - position
        distance = np.sqrt((toward * toward).sum(axis=1))
        toward /= np.maximum(distance, _TINY)[:, None]
        own, other = toward @ velocity, -(toward * others.velocity).sum(axis=1)
        stopping_m = self._braking.stopping_m(own)
        to_spare = distance - self._separation_m - stopping_m - self._braking.stopping_m(other)
        allowed = self._braking.allowed_mps(stopping_m + to_spare / (1.0 + others.cooperative))
        allowed = np.where((allowed < 0) & others.cooperative, _PARTING * allowed, allowed)
        return -toward, -self._braking.commanded_mps(own, allowed)


class Orca:
    """Optimal reciprocal collision avoidance.

    Args:
        separation_m: sum of the radii of two drones.
        period_s: within which those that are too close should be apart again, s.
    """

    def __init__(self, separation_m: float, period_s: float) -> None:
        self._separation_m, self._period_s = separation_m, period_s

    def half_spaces(self, position: Array, velocity: Array, others: Others) -> tuple[Array, Array]:
        """See `Shield`."""
        to, relative = others.position - position, velocity - others.velocity
        rows = [self._obstacle(*each) for each in zip(to, relative, strict=True)]
        normal = np.array([outward for outward, _ in rows]).reshape(to.shape)
        change = np.array([size for _, size in rows])
        return normal, normal @ velocity + change / (1.0 + others.cooperative)

    def _obstacle(self, to: Array, relative: Array) -> tuple[Array, float]:
        """Outward normal of a velocity obstacle where it is nearest to the relative velocity, and how far it is inside.

        The obstacle is a cone with a spherical tip: centre ``to / horizon``, radius ``D / horizon``.
        """
        radius, squared = self._separation_m, float(to @ to)
        along, speed2 = float(to @ relative), float(relative @ relative)
        if squared <= radius * radius:  # inside already: out within a period
            return _beyond(relative - to / self._period_s, radius / self._period_s)
        from_tip = relative - to / _ORCA_HORIZON_S
        toward = float(from_tip @ to)
        if toward < 0 and toward * toward > radius * radius * float(from_tip @ from_tip):
            return _beyond(from_tip, radius / _ORCA_HORIZON_S)
        # the cone touches spheres of radius t D around t to: find the t of the one that is nearest
        rest = speed2 - (squared * speed2 - along * along) / (squared - radius * radius)
        t = (along + math.sqrt(max(along * along - squared * rest, 0.0))) / squared
        return _beyond(relative - t * to, radius * t)


def _beyond(from_centre: Array, radius: float) -> tuple[Array, float]:
    length = math.sqrt(float(from_centre @ from_centre))
    if length < _TINY:  # right in the middle: any way out is as good
        outward = np.zeros_like(from_centre)
        outward[0] = 1.0
        return outward, radius
    return from_centre / length, radius - length


class NoShield:
    """Nobody is kept apart."""

    def half_spaces(self, position: Array, velocity: Array, others: Others) -> tuple[Array, Array]:
        """See `Shield`."""
        return np.zeros((0, len(position))), np.zeros(0)


def make_shield(config: Config, braking: Braking, period_s: float) -> Shield:
    """The shield that safety.shield names, for a gate that works once in `period_s`."""
    match config.safety.shield:
        case "barrier":
            return Barrier(config.safety.separation_m, braking)
        case "orca":
            return Orca(config.safety.separation_m, period_s)
    return NoShield()
