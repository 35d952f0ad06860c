"""The reward as named terms, each weighted by the key of the same name in the section `reward` (this project's design).

Every term is [B, N], zero for agents that are not alive, and unweighted until `weighted`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from sortie_core.state import batch_first, batch_last

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.config_sections import RewardWeights
    from sortie_core.state import Array, WorldState

_TINY = 1e-6


def demand(before: WorldState, after: WorldState) -> Array:
    """Global demand reduction ``(U_t - U_{t+1}) / U_0``, shared by all; U sums the unmet demand over all kinds.

    That a demand changes is neither reward nor penalty.
    """
    xp = array_namespace(after.unmet)
    less = before.unmet - after.unmet
    if after.demand is not before.demand:
        less = less + after.demand - before.demand
    reduction = _total(less) / xp.clip(_total(after.demand), min=_TINY)
    return reduction[:, None] * xp.astype(before.alive, reduction.dtype)


def own_delivery(before: WorldState, after: WorldState) -> Array:
    """The agent's own delivery over its fair share of the demand, ``N * delivered_i / U_0``."""
    xp = array_namespace(after.delivered)
    amount = xp.sum(batch_last(after.delivered) - batch_last(before.delivered), axis=1)
    n_agents = xp.sum(xp.astype(after.present, amount.dtype), axis=1)
    return batch_first(amount * (n_agents / xp.clip(_total(after.demand), min=_TINY))[None])


def collision(squared_m2: Array, alive: Array, collision_distance_m: float, safe_distance_m: float) -> Array:
    """Closeness to others, ``-sum_j [1(d_ij < d_col) + 0.5 ((d_safe - d_ij)_+ / d_safe)^2]``.

    Args:
        squared_m2: [B, N, N] m^2 from `comm_graph.squared_distances`, infinite where there is no pair.
        alive: [B, N] bool.
        collision_distance_m: d_col.
        safe_distance_m: d_safe.
    """
    xp = array_namespace(squared_m2)
    squared = batch_last(squared_m2)
    closeness = xp.sqrt(squared)
    closeness *= -1.0 / safe_distance_m
    closeness = xp.clip(closeness + 1.0, min=0.0)
    closeness *= closeness
    closeness *= 0.5
    closeness += squared < collision_distance_m**2
    return -batch_first(xp.sum(closeness, axis=0)) * xp.astype(alive, squared_m2.dtype)


def completion(before: WorldState, after: WorldState, served: Array) -> Array:
    """Sub-team bonus ``sum_m 1[m completes] 1[i serves m]``.

    Args:
        before: the missions before the step.
        after: the missions after it.
        served: [B, N, M] bool from `delivery.deliver`.
    """
    xp = array_namespace(after.completed)
    new = batch_last(after.completed) & ~batch_last(before.completed)
    return batch_first(xp.sum(xp.astype(batch_last(served) & new[None], after.position.dtype), axis=1))


def guidance(before: WorldState, after: WorldState, assignment: Array, config: Config) -> Array:
    """Potential-based guidance ``gamma Phi_i' - Phi_i`` with ``Phi_i = -|p_i - c_m(i)| / diam``.

    The discount is that of one step, and diam the arena's diagonal. The assignment is that of before the step in both
    terms, for only a fixed potential leaves the optimum alone.

    Args:
        before: the missions before the step.
        after: the missions after it.
        assignment: [B, N] int, the expert's consumer; -1 or M for none, which gives 0.
        config: for the arena, the step and train.gamma_per_s.
    """
    xp = array_namespace(after.position)
    diameter_m = 2 * config.arena_half_m * math.sqrt(config.task.dimensions)
    gamma = config.train.gamma_per_s**config.world.dt_s
    chosen, centre = batch_last(assignment), batch_last(before.consumer_position)
    picks = [xp.astype(chosen == consumer, before.position.dtype) for consumer in range(centre.shape[0])]
    goal = sum(pick[:, None] * centre[consumer][None] for consumer, pick in enumerate(picks))
    away_before, away_after = batch_last(before.position) - goal, batch_last(after.position) - goal
    gain = _norm(away_before) - gamma * _norm(away_after)
    gain *= sum(picks) * xp.astype(batch_last(before.alive), gain.dtype) / diameter_m
    return batch_first(gain)


def weighted(terms: dict[str, Array], weights: RewardWeights) -> dict[str, Array]:
    """Each term times the weight of the same name.

    Raises:
        AttributeError: a term without a weight.
    """
    return {name: term * getattr(weights, name) for name, term in terms.items()}


def reward_terms(
    before: WorldState,
    after: WorldState,
    served: Array,
    squared_m2: Array,
    config: Config,
    assignment: Array | None = None,
) -> dict[str, Array]:
    """The weighted terms by name; the reward is their sum.

    Args:
        before: the missions before the step.
        after: the missions after it.
        served: [B, N, M] bool from `delivery.deliver`.
        squared_m2: [B, N, N] m^2 after the step.
        config: for weights and distances.
        assignment: [B, N] int for `guidance`; None leaves that term out.

    Returns:
        name -> [B, N].
    """
    world = config.world
    terms = {
        "demand": demand(before, after),
        "own_delivery": own_delivery(before, after),
        "collision": collision(squared_m2, before.alive, world.collision_distance_m, world.safe_distance_m),
        "completion": completion(before, after, served),
    }
    if assignment is not None:
        terms["guidance"] = guidance(before, after, assignment, config)
    return weighted(terms, config.reward)


def _total(amount: Array) -> Array:
    """[B] the sum over the other two axes."""
    xp = array_namespace(amount)
    return batch_first(xp.sum(xp.sum(batch_last(amount), axis=0), axis=0))


def _norm(vector: Array) -> Array:
    """[N, B] of [N, D, B]."""
    xp = array_namespace(vector)
    return xp.sqrt(xp.sum(vector * vector, axis=1))
