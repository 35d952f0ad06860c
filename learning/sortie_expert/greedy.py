"""Greedy references: each agent for itself, from the true unmet demand, blind to what the others are about to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from sortie_core.delivery import MET, presence_settled

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

_SETTLE_S = 1.0
"""Added to the travel time: what handing over takes, and a guard against the infinite worth of a consumer close by."""


def useful_amount(stock: Array, unmet: Array) -> Array:
    """How much of what each agent has each consumer needs, ``sum_r min(stock_ir, unmet_mr)``.

    Args:
        stock: [..., N, R].
        unmet: [..., M, R], the same for all agents, or [..., N, M, R].

    Returns:
        [..., N, M] in units of one drone's capacity.
    """
    xp = array_namespace(stock)
    if unmet.ndim == stock.ndim:
        unmet = unmet[..., None, :, :]
    return xp.sum(xp.minimum(stock[..., :, None, :], unmet), axis=-1)


def nearest_need(state: WorldState, config: Config) -> Array:
    """The nearest consumer to which an agent can bring anything.

    Args:
        state: the missions.
        config: for the service radius.

    Returns:
        [B, N] int, the consumer; M for an agent that is not alive or has nothing that anyone needs.
    """
    distance_m, useful = _offers(state, config)
    return _best(-distance_m, useful > MET)


def value_greedy(state: WorldState, config: Config) -> Array:
    """The consumer with the most useful amount per time, ``useful / (distance / speed + 1 s)``.

    The rule is this project's design.

    Args:
        state: the missions.
        config: for the service radius and world.max_speed_mps.

    Returns:
        [B, N] int, as `nearest_need`.
    """
    distance_m, useful = _offers(state, config)
    return _best(worth(useful, distance_m, config), useful > MET)


def worth(useful: Array, distance_m: Array, config: Config) -> Array:
    """Useful amount per time, ``useful / (distance / speed + 1 s)``."""
    return useful / (distance_m / config.world.max_speed_mps + _SETTLE_S)


def distances(state: WorldState) -> Array:
    """[B, N, M] m from agents to consumers."""
    xp = array_namespace(state.position)
    return xp.linalg.vector_norm(state.position[:, :, None, :] - state.consumer_position[:, None, :, :], axis=-1)


def _offers(state: WorldState, config: Config) -> tuple[Array, Array]:
    """Distances, m, and useful amounts, both [B, N, M]; an amount is 0 where agent or consumer are out of the game."""
    xp = array_namespace(state.position)
    distance_m = distances(state)
    near = distance_m <= config.task.service_radius_m
    useful = useful_amount(state.stock, _need_without_self(state, near, config))
    possible = state.alive[:, :, None] & (state.active & ~state.completed)[:, None, :]
    return distance_m, xp.where(possible, useful, xp.zeros_like(useful))


def _need_without_self(state: WorldState, near: Array, config: Config) -> Array:
    """[B, N, M, R] what would be unmet without the agent itself.

    Unmet presence already counts the stock of those near. An agent that took it as it is would find the need it covers
    gone, leave, and find it open again.
    """
    xp = array_namespace(state.stock)
    covering = near & ~presence_settled(state, config)[:, None, :]
    stock = state.stock[:, :, None, :]
    own = xp.where(covering[..., None] & state.presence[:, None, None, :], stock, xp.zeros_like(stock))
    return xp.where(own > 0, xp.minimum(state.unmet[:, None] + own, state.demand[:, None]), state.unmet[:, None])


def _best(score: Array, possible: Array) -> Array:
    """The index [B, N] of the largest score [B, N, M] among those possible, M where there is none."""
    xp = array_namespace(score)
    choice = xp.argmax(xp.where(possible, score, xp.full_like(score, -xp.inf)), axis=-1)
    return xp.where(xp.any(possible, axis=-1), choice, xp.full_like(choice, score.shape[-1]))
