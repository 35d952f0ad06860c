"""A centralised auction: a reference, a teacher of training, and what the local search begins from."""

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
        config: for the task and world.max_speed_mps.

    Returns:
        [B, N] int, the consumer; M for agents that nobody needs.
    """
    stock, distance_m = state.stock, distances(state)
    xp, device = array_namespace(stock), device_of(stock)
    batch, n_agents, n_consumers = distance_m.shape
    mission = xp.arange(batch, device=device)
    needed = xp.asarray(outstanding(state, config), copy=True)
    useful = useful_amount(stock, needed) * xp.astype(state.alive, needed.dtype)[:, :, None]
    bids = worth(useful, distance_m, config)
    sold = xp.full((batch, n_agents), n_consumers, dtype=xp.int64, device=device)
    for _ in range(n_agents):
        best = xp.argmax(xp.reshape(bids, (batch, -1)), axis=1)
        winner, consumer = best // n_consumers, best % n_consumers
        won = xp.max(xp.reshape(useful, (batch, -1)), axis=1) > MET
        if not bool(xp.any(won)):
            break
        sold[mission, winner] = xp.where(won, consumer, sold[mission, winner])
        # Only the winner's bids and those for the consumer that was sold to have changed.
        brought = stock[mission, winner] * xp.astype(won, needed.dtype)[:, None]
        rest = xp.clip(needed[mission, consumer] - brought, min=0.0)
        needed[mission, consumer] = rest
        left = xp.sum(xp.minimum(stock, rest[:, None, :]), axis=2)
        left = xp.where(useful[mission, :, consumer] > 0, left, 0.0)
        useful[mission, :, consumer] = left
        bids[mission, :, consumer] = worth(left, distance_m[mission, :, consumer], config)
        useful[mission, winner] = xp.where(won[:, None], 0.0, useful[mission, winner])
        bids[mission, winner] = xp.where(won[:, None], 0.0, bids[mission, winner])
    return sold
