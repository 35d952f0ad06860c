"""Where agents that wait look for demands, where those are sensed and nobody has told of them (this project's design).

The arena is divided into cells. An agent keeps, for each, how near to its centre it has been, or a neighbour that it
hears: what that one senses is relayed. Within the sensing radius a cell has been looked at, and nearer still it has
been seen to its corners. Who waits flies to the nearest cell that has not been looked at; once there is none, to the
nearest not seen to its corners; of both first to those that no neighbour is nearer to. When all has been seen it begins
again, for demands may appear, and others may meet them. Nothing is sent for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

if TYPE_CHECKING:
    from sortie_core.action import Neighbours
    from sortie_core.config import Config
    from sortie_core.state import Array

_MOST_CELLS = 1024
"""Where the sensing radius is small for the arena, cells are larger than what is sensed from their centre."""


@dataclass
class Exploration:
    """What agents have explored, and where they go on.

    Attributes:
        nearest_m: [B, N, C] how near to each cell's centre somebody has been, as far as agent i knows, m; infinity at
            first.
        goal: [B, N, D] m, centre of the cell to explore next; any value where there is none.
        unexplored: [B, N] bool, whether there is one.
    """

    nearest_m: Array
    goal: Array
    unexplored: Array

    @classmethod
    def beginning(cls, position: Array, config: Config) -> Exploration:
        """Of agents at `position`, [B, N, D] m, that have seen nothing yet."""
        xp, device = array_namespace(position), device_of(position)
        sizes = (*position.shape[:2], len(_cells(config)[0]))
        nearest_m = xp.full(sizes, math.inf, dtype=position.dtype, device=device)
        return cls(nearest_m, position, xp.zeros(position.shape[:2], dtype=xp.bool, device=device))

    def looked(self, position: Array, neighbours: Neighbours, config: Config) -> Exploration:
        """After a look around, at every decision.

        Args:
            position: [B, N, D] m.
            neighbours: whose places agents know.
            config: for the arena, the sensing radius and the service radius, which is the least they look.
        """
        xp = array_namespace(position)
        cells, corner_m = _cells(config)
        centres = xp.asarray(cells, dtype=position.dtype, device=device_of(position))
        own = _distance(position, centres)
        theirs = xp.full_like(own, math.inf)
        for number in range(neighbours.linked.shape[2]):
            heard = neighbours.linked[:, :, number, None]
            away = _distance(neighbours.position[:, :, number], centres)
            theirs = xp.where(heard, xp.minimum(theirs, away), theirs)
        now = xp.minimum(own, theirs)
        least = config.task.service_radius_m
        sight = max(config.task.sensing_radius_m, least)
        to_corners = max(sight - corner_m, least)
        nearest = xp.minimum(self.nearest_m, now)
        everything = xp.all(nearest <= to_corners, axis=-1, keepdims=True)
        nearest = xp.where(everything, now, nearest)
        seen = nearest <= to_corners
        far = 4 * config.arena_half_m * math.sqrt(config.task.dimensions)
        later = 2 * xp.astype(nearest <= sight, own.dtype) + xp.astype(theirs < own, own.dtype)
        cost = own + far * later
        chosen = xp.argmin(xp.where(seen, xp.full_like(cost, math.inf), cost), axis=-1)
        return Exploration(nearest, centres[chosen], ~xp.all(seen, axis=-1))

    def forgotten(self, where: Array) -> Exploration:
        """Without what was explored in the missions of the mask [B] bool, which begin anew."""
        xp = array_namespace(self.nearest_m)
        gone = xp.where(where[:, None, None], xp.full_like(self.nearest_m, math.inf), self.nearest_m)
        return replace(self, nearest_m=gone, unexplored=self.unexplored & ~where[:, None])

    def lead(self, target: Array, going: Array) -> tuple[Array, Array]:
        """Send those who are not going anywhere to explore.

        Args:
            target: [B, N, D] m.
            going: [B, N] bool.

        Returns:
            Both, as for `sortie_core.action.velocity_command`.
        """
        xp = array_namespace(target)
        exploring = ~going & self.unexplored
        return xp.where(exploring[..., None], self.goal, target), going | exploring


def _cells(config: Config) -> tuple[np.ndarray, float]:
    """[C, D] m, centres of cells as wide as the sensing radius, or wider where that makes many; m to their corners."""
    half_m, dimensions = config.arena_half_m, config.task.dimensions
    most = math.floor(_MOST_CELLS ** (1 / dimensions) + 1e-6)
    count = min(most, max(1, math.ceil(2 * half_m / config.task.sensing_radius_m)))
    along = half_m * ((2 * np.arange(count) + 1) / count - 1)
    centres = np.stack(np.meshgrid(*[along] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)
    return centres, half_m / count * math.sqrt(dimensions)


def _distance(position: Array, centres: Array) -> Array:
    """[B, N, C] m, from positions [B, N, D] to centres [C, D]."""
    xp = array_namespace(position)
    gap: Any = position[:, :, None, :] - centres
    return xp.sqrt(xp.sum(gap * gap, axis=-1))
