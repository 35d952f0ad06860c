"""The volume that drones must not leave: a polygon between two heights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from sortie_core.config import Config
    from sortie_safety.shield import Braking

    Array = NDArray[np.float64]

_ON_IT_M = 1e-9
_BUFFER_M = 0.1
"""Drones are stopped so far inside, m: what holds them there may be a wake or a neighbour."""
_STRAIGHT = 0.7
"""Share of a drone's deceleration that is left for one direction while its command turns in another."""


class Fence:
    """A volume with vertical walls; its polygon may be concave.

    Args:
        corner: [V, 2] m, the polygon's, in turn.
        low_m: lowest height.
        high_m: highest height.
        braking: of what must not leave it.
    """

    def __init__(self, corner: ArrayLike, low_m: float, high_m: float, braking: Braking) -> None:
        self.low_m, self.high_m = low_m, high_m
        self._braking = braking
        self._start = np.asarray(corner, np.float64)
        self._end = np.roll(self._start, -1, axis=0)
        self._along = self._end - self._start
        self._squared = (self._along * self._along).sum(axis=1)
        turn = (self._start[:, 0] * self._end[:, 1] - self._end[:, 0] * self._start[:, 1]).sum()
        left = np.stack([-self._along[:, 1], self._along[:, 0]], axis=1) / np.sqrt(self._squared)[:, None]
        self._inward = left if turn > 0 else -left
        # of the walls, the floor and the ceiling
        self._normal = np.zeros((len(self._start) + 2, 3))
        self._normal[-2, 2], self._normal[-1, 2] = 1.0, -1.0

    @classmethod
    def of(cls, config: Config, braking: Braking) -> Fence:
        """safety.geofence, or where it is empty the arena with safety.geofence_margin_m around it."""
        safety = config.safety
        half_m = config.arena_half_m + safety.geofence_margin_m
        square = [[-half_m, -half_m], [half_m, -half_m], [half_m, half_m], [-half_m, half_m]]
        return cls(safety.geofence or square, safety.z_min_m, safety.z_max_m, braking)

    def distance_m(self, position: Array) -> float:
        """How far [3] m is from the nearest wall, floor or ceiling; negative outside."""
        _, distance_m = self._to_walls(position[:2])
        sideways = float(distance_m.min()) * (1 if self._encloses(position[:2]) else -1)
        return min(sideways, float(position[2]) - self.low_m, self.high_m - float(position[2]))

    def half_spaces(self, position: Array, velocity: Array) -> tuple[Array, Array]:
        """Velocities whose part toward each wall can still be braked away before it; behind a wall, those back.

        Args:
            position: [3] m.
            velocity: [3] m/s.

        Returns:
            Normals [K, 3] and bounds [K] m/s; the last but one row is the floor's, the last one the ceiling's.
        """
        away, distance_m = self._to_walls(position[:2])
        if distance_m.min() == 0.0 or self._encloses(position[:2]):
            normal = self._normal.copy()
        else:
            nearest = [int(distance_m.argmin())]
            normal, away, distance_m = self._normal[-3:].copy(), -away[nearest], -distance_m[nearest]
        normal[:-2, :2] = away
        room_m = np.append(distance_m, [position[2] - self.low_m, self.high_m - position[2]]) - _BUFFER_M
        allowed = self._braking.allowed_mps(room_m, _STRAIGHT)
        return normal, -self._braking.commanded_mps(-(normal @ velocity), allowed)

    def _to_walls(self, place: Array) -> tuple[Array, Array]:
        """Unit vectors [V, 2] from the nearest point of each wall, and distances [V] m."""
        from_start = place - self._start
        share = np.clip((from_start * self._along).sum(axis=1) / self._squared, 0.0, 1.0)
        away = from_start - share[:, None] * self._along
        distance_m = np.sqrt((away * away).sum(axis=1))
        touching = distance_m < _ON_IT_M
        if touching.any():
            away, distance_m = np.where(touching[:, None], self._inward, away), np.where(touching, 0.0, distance_m)
        return away / np.where(touching, 1.0, distance_m)[:, None], distance_m

    def _encloses(self, place: Array) -> bool:
        """Whether a ray to the east crosses an odd number of walls."""
        north_of = self._start[:, 1] > place[1]
        crossed = np.flatnonzero(north_of != (self._end[:, 1] > place[1]))
        share = (place[1] - self._start[crossed, 1]) / self._along[crossed, 1]
        return bool((self._start[crossed, 0] + share * self._along[crossed, 0] > place[0]).sum() % 2)
