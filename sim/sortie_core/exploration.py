"""Where agents that wait look for demands, where those are sensed and nobody has told of them (this project's design).

The arena is divided into cells. An agent takes a cell for explored while it, or a neighbour that it hears, was within
the sensing radius of the cell's centre not long ago: what a neighbour senses is relayed. Who waits flies to the nearest
cell that is not explored, of those first that no neighbour is nearer to. Nothing is sent for it.
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

_EXPLORED_S = 10.0
"""A cell stays explored for so long; demands may appear, and others may meet them."""
_MOST_CELLS = 1024
"""Where the sensing radius is small for the arena, cells are larger than what is sensed from their centre."""


@dataclass
class Exploration:
    """What agents have explored, and where they go on.

    Attributes:
        looked_s: [B, N, C] mission time at which each cell was looked at last, as far as agent i knows, s; else -inf.
        goal: [B, N, D] m, centre of the cell to explore next; any value where there is none.
        unexplored: [B, N] bool, whether there is one.
    """

    looked_s: Array
    goal: Array
    unexplored: Array

    @classmethod
    def beginning(cls, position: Array, config: Config) -> Exploration:
        """Of agents at `position`, [B, N, D] m, that have seen nothing yet."""
        xp, device = array_namespace(position), device_of(position)
        looked_s = xp.full((*position.shape[:2], len(_centres(config))), -math.inf, dtype=position.dtype, device=device)
        return cls(looked_s, position, xp.zeros(position.shape[:2], dtype=xp.bool, device=device))

    def looked(self, position: Array, time_s: Array, neighbours: Neighbours, config: Config) -> Exploration:
        """After a look around, at every decision.

        Args:
            position: [B, N, D] m.
            time_s: [B] s, the missions' time.
            neighbours: whose places agents know.
            config: for the arena, the sensing radius and the service radius, which is the least they look.
        """
        xp = array_namespace(position)
        centres = xp.asarray(_centres(config), dtype=position.dtype, device=device_of(position))
        own = _distance(position, centres)
        nearest = xp.full_like(own, math.inf)
        for number in range(neighbours.linked.shape[2]):
            theirs = _distance(neighbours.position[:, :, number], centres)
            heard = neighbours.linked[:, :, number, None]
            nearest = xp.where(heard, xp.minimum(nearest, theirs), nearest)
        now = time_s[:, None, None]
        reach = max(config.task.sensing_radius_m, config.task.service_radius_m)
        looked_s = xp.where(xp.minimum(own, nearest) <= reach, now, self.looked_s)
        due = looked_s < now - _EXPLORED_S
        far = 4 * config.arena_half_m * math.sqrt(config.task.dimensions)
        cost = own + far * xp.astype(nearest < own, own.dtype)
        chosen = xp.argmin(xp.where(due, cost, xp.full_like(cost, math.inf)), axis=-1)
        return Exploration(looked_s, centres[chosen], xp.any(due, axis=-1))

    def forgotten(self, where: Array) -> Exploration:
        """Without what was explored in the missions of the mask [B] bool, which begin anew."""
        xp = array_namespace(self.looked_s)
        gone = xp.where(where[:, None, None], xp.full_like(self.looked_s, -math.inf), self.looked_s)
        return replace(self, looked_s=gone, unexplored=self.unexplored & ~where[:, None])

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


def _centres(config: Config) -> np.ndarray:
    """[C, D] m, centres of the cells: in a square grid no wider than the sensing radius, unless that makes too many."""
    half_m, dimensions = config.arena_half_m, config.task.dimensions
    most = math.floor(_MOST_CELLS ** (1 / dimensions) + 1e-6)
    count = min(most, max(1, math.ceil(2 * half_m / config.task.sensing_radius_m)))
    along = half_m * ((2 * np.arange(count) + 1) / count - 1)
    return np.stack(np.meshgrid(*[along] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)


def _distance(position: Array, centres: Array) -> Array:
    """[B, N, C] m, from positions [B, N, D] to centres [C, D]."""
    xp = array_namespace(position)
    gap: Any = position[:, :, None, :] - centres
    return xp.sqrt(xp.sum(gap * gap, axis=-1))
