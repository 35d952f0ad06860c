"""What a drone knows as one flat vector, for learning libraries that want nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace

from sortie_core.observation import LENGTH_SCALE_M, TIME_SCALE_S, consumer_size, observe, own_size

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

_ROUNDING = 1.001


def flat_observation(state: WorldState, linked: Array, config: Config) -> Array:
    """Every drone's own view of its mission (this project's design).

    What it knows of itself (`sortie_core.observation`); of every consumer the relative position, the distance, how much
    of its own stock is needed there, the whole need, which kinds are demands for presence, and 1 where it may be
    chosen; of every other drone, in the order of their indices, the
    relative position, relative velocity, stock and 1 where it is in radio range, all 0 where it is not. Relative
    positions are in units of `LENGTH_SCALE_M`, velocities in units of world.max_speed_mps.

    Args:
        state: the missions.
        linked: [B, N, N] bool, who hears whom.
        config: for the scales and the padding of resources.

    Returns:
        [B, N, F] float32, F as in `flat_size`.
    """
    xp = array_namespace(state.position)
    seen = observe(state, config)
    batch, n_agents, dimensions = state.position.shape
    away = _relative(seen.position, seen.consumer_position) / LENGTH_SCALE_M
    # The absolute position leads what the policy's network sees of a consumer; here it gives way to the relative one.
    facts = [seen.consumers[..., dimensions:], xp.astype(seen.consumer_mask, xp.float32)[..., None]]
    shared = xp.concat(facts, axis=-1)[:, None]
    consumers = [
        away,
        xp.sqrt(xp.sum(away * away, axis=-1, keepdims=True)),
        xp.minimum(seen.stock[:, :, None], seen.need[:, None]),
        xp.broadcast_to(shared, (batch, n_agents, *shared.shape[2:])),
    ]

    stock = xp.broadcast_to(seen.stock[:, None], (batch, n_agents, *seen.stock.shape[1:]))
    pairs = [
        _relative(seen.position, seen.position) / LENGTH_SCALE_M,
        _relative(seen.velocity, seen.velocity) / config.world.max_speed_mps,
        stock,
        xp.ones_like(stock[..., :1]),
    ]
    others = _without_self(xp.concat(pairs, axis=-1) * xp.astype(linked, xp.float32)[..., None])
    rows = (xp.concat(consumers, axis=-1), others)
    listed = [xp.reshape(row, (batch, n_agents, math.prod(row.shape[2:]))) for row in rows]
    return xp.concat([seen.own, *listed], axis=-1)


def flat_parts(flat: Array, config: Config) -> tuple[Array, Array, Array]:
    """What a flat observation is made of, for networks that treat all consumers alike and all other drones alike.

    Args:
        flat: [..., F].
        config: that of the observation.

    Returns:
        Of the drone itself [..., Fo], of the consumers [..., M, Fc], of the other drones [..., N - 1, Fn].
    """
    xp = array_namespace(flat)
    own, consumer, other = _sizes(config)
    n_consumers, n_others = config.task.n_consumers, config.team.n_agents - 1
    end = own + n_consumers * consumer
    return (
        flat[..., :own],
        xp.reshape(flat[..., own:end], (*flat.shape[:-1], n_consumers, consumer)),
        xp.reshape(flat[..., end:], (*flat.shape[:-1], n_others, other)),
    )


def flat_size(config: Config) -> int:
    """F of `flat_observation`."""
    own, consumer, other = _sizes(config)
    return own + config.task.n_consumers * consumer + (config.team.n_agents - 1) * other


def flat_bound(config: Config) -> np.ndarray:
    """[F] float32: no value of `flat_observation` is larger in size, however the drones fly."""
    dimensions, most = config.task.dimensions, config.policy.max_resources
    half_m, speed_mps, stock = config.arena_half_m, config.world.max_speed_mps, config.team.stock[1]
    # Learners that choose consumers may end in the middle of a decision.
    longest_s = config.duration_s + config.policy.decision_steps * config.world.dt_s
    away_m = half_m + speed_mps * longest_s
    need = config.team.n_agents * stock / config.task.supply_ratio[0]
    own = [away_m / half_m] * dimensions + [1.0] * dimensions + [stock] * most + [longest_s / TIME_SCALE_S]
    gap = (half_m + away_m) / LENGTH_SCALE_M
    consumer = [gap] * dimensions + [gap * math.sqrt(dimensions)] + [stock] * most + [need] * most + [1.0] * (most + 1)
    other = [2 * away_m / LENGTH_SCALE_M] * dimensions + [2.0] * dimensions + [stock] * most + [1.0]
    bound = own + consumer * config.task.n_consumers + other * (config.team.n_agents - 1)
    return _ROUNDING * np.maximum(np.asarray(bound, dtype=np.float32), 1.0)


def _sizes(config: Config) -> tuple[int, int, int]:
    """Fo, Fc and Fn of `flat_parts`."""
    dimensions, most = config.task.dimensions, config.policy.max_resources
    return (
        own_size(dimensions, most),
        consumer_size(dimensions, most) + 1 + most + 1,
        2 * dimensions + most + 1,
    )


def _relative(origin: Array, point: Array) -> Array:
    """[B, N, P, D] vectors from every origin [B, N, D] to every point [B, P, D]."""
    return point[:, None] - origin[:, :, None]


def _without_self(pairs: Array) -> Array:
    """[B, N, N - 1, F] of [B, N, N, F]: the diagonal left out."""
    xp = array_namespace(pairs)
    batch, n_agents, _, features = pairs.shape
    # After the first element every diagonal element is the last of N + 1 in a row.
    rows = xp.reshape(pairs, (batch, n_agents * n_agents, features))[:, 1:]
    rows = xp.reshape(rows, (batch, n_agents - 1, n_agents + 1, features))[:, :, :-1]
    return xp.reshape(rows, (batch, n_agents, n_agents - 1, features))
