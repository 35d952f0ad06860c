"""A centralised auction: the teacher of training, and a reference that plans for time where the expert does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_core.delivery import MET, outstanding
from sortie_expert.greedy import distances, useful_amount, worth

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState


def auction(state: WorldState, config: Config) -> Array:
    """Agents are sold to consumers one by one, always the pair worth the most next (this project's design).

    The worth is that of `greedy.value_greedy`, ``useful / (distance / speed + 1 s)``, of what is still needed when all
    agents sold before have brought theirs. Everything is known, and the whole batch is sold at once.

    Args:
        state: the missions.
        config: for the service radius and world.max_speed_mps.

    Returns:
        [B, N] int, the consumer; M for agents that nobody needs.
    """
    xp, device = array_namespace(state.position), device_of(state.position)
    batch, n_agents, _ = state.stock.shape
    n_consumers = state.unmet.shape[1]
    agents, consumers = xp.arange(n_agents, device=device)[None], xp.arange(n_consumers, device=device)[None]
    distance_m, needed, free = distances(state), outstanding(state, config), state.alive
    sold = xp.full((batch, n_agents), n_consumers, dtype=xp.int64, device=device)
    for _ in range(n_agents):
        useful = useful_amount(state.stock, needed) * xp.astype(free, needed.dtype)[:, :, None]
        bids = xp.reshape(worth(useful, distance_m, config), (batch, -1))
        best = xp.argmax(bids, axis=1)[:, None]
        winner, consumer = best // n_consumers, best % n_consumers
        won = (agents == winner) & (xp.max(xp.reshape(useful, (batch, -1)), axis=1)[:, None] > MET)
        sold = xp.where(won, consumer, sold)
        free = free & ~won
        brought = xp.sum(state.stock * xp.astype(won, needed.dtype)[:, :, None], axis=1)[:, None, :]
        there = xp.astype(consumers == consumer, needed.dtype)[:, :, None]
        needed = xp.clip(needed - brought * there, min=0.0)
    return sold
