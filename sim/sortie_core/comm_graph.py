"""Who hears whom: the only place where the communication radius becomes a graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_core.state import batch_first, batch_last

if TYPE_CHECKING:
    from sortie_core.state import Array


def squared_distances(position: Array, present: Array) -> Array:
    """Squared distance of every pair, to be computed once a step and shared.

    Args:
        position: [B, N, D] m.
        present: [B, N] bool, False for padding.

    Returns:
        [B, N, N] m^2; infinite from an agent to itself and to padding, which hence is near nobody.
    """
    xp = array_namespace(position)
    place, real = batch_last(position), batch_last(present)
    total = _squared_gaps(place[:, 0])
    for axis in range(1, place.shape[1]):
        total += _squared_gaps(place[:, axis])
    pairs = real[:, None] & real[None, :]
    pairs &= ~_identity(position, xp.bool)
    return batch_first(xp.where(pairs, total, math.inf))


def adjacency(position: Array, alive: Array, radius_m: float, squared_m2: Array | None = None) -> Array:
    """The communication graph: symmetric, without self-loops, and without agents that are not alive.

    Args:
        position: [B, N, D] m.
        alive: [B, N] bool, False for failed agents and padding.
        radius_m: comm.radius_m, may be infinite.
        squared_m2: [B, N, N] from `squared_distances`, computed here where None.

    Returns:
        [B, N, N] bool.
    """
    squared = batch_last(squared_distances(position, alive) if squared_m2 is None else squared_m2)
    hears = batch_last(alive)
    linked = squared <= _squared_radius(radius_m)
    linked &= hears[:, None]
    linked &= hears[None, :]
    return batch_first(linked)


def support(adjacency: Array) -> Array:
    """The graph filters' support: row-stochastic with self-loops, ``S = D^-1 (A + I)`` (this project's design).

    Its powers have infinity norm 1 for every team size and topology, so that contraction depends on the weights alone.

    Args:
        adjacency: [B, N, N] bool.

    Returns:
        [B, N, N] float32; an agent without neighbours has the row of the identity.
    """
    xp = array_namespace(adjacency)
    weights = xp.astype(batch_last(adjacency), xp.float32)
    weights += _identity(adjacency, weights.dtype)
    weights /= xp.sum(weights, axis=1, keepdims=True)
    return batch_first(weights)


def _squared_radius(radius_m: float) -> float:
    # Below infinity, since agents are infinitely far from themselves.
    return min(radius_m * radius_m, 3e38)


def _squared_gaps(coordinate: Array) -> Array:
    gap = coordinate[:, None] - coordinate[None, :]
    gap *= gap
    return gap


def _identity(like: Array, dtype: object) -> Array:
    """[N, N, 1] for an array [B, N, ...]."""
    return array_namespace(like).eye(like.shape[1], dtype=dtype, device=device_of(like))[:, :, None]
