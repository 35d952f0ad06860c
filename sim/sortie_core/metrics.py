"""Figures of a mission, accumulated step by step for a batch of missions.

Definitions (this project's design):
    delivered share: ``1 - unmet / demand`` summed over consumers and kinds. For a demand for presence this is the part
        that is covered at the moment, which stays at 1 once the demand has been held for long enough.
    delivered_auc: the share's average over the whole mission time; a mission that ends early keeps its last share.
    collision: a pair of drones comes closer than world.collision_distance_m; staying close counts once.
    energy proxy: ``sum |a|^2 dt`` over drones and steps, from the change of velocity.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from sortie_core.comm_graph import squared_distances
from sortie_core.delivery import finished
from sortie_core.state import batch_first, batch_last

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

_TINY = 1e-6
_ALMOST_ALL = 0.9


def delivered_share(state: WorldState) -> Array:
    """[B] delivered share, 1 where nothing is demanded."""
    xp = array_namespace(state.unmet)
    asked, open_ = (xp.sum(xp.sum(batch_last(amount), axis=0), axis=0) for amount in (state.demand, state.unmet))
    return 1.0 - open_ / xp.clip(asked, min=_TINY)


def deliverable_share(state: WorldState) -> Array:
    """[B] the most of the demand that can be met by the end, whatever the team does from now on.

    For a consumable this is what was received and what the stock of living agents allows, which counts once; for
    presence stock can stand at one consumer after the other.
    """
    xp = array_namespace(state.demand)
    alive = xp.astype(state.alive, state.stock.dtype)[:, :, None]
    stock, demand, unmet = (xp.sum(amount, axis=1) for amount in (state.stock * alive, state.demand, state.unmet))
    by_turns = xp.sum(xp.minimum(state.demand, stock[:, None, :]), axis=1)
    most = xp.sum(xp.where(state.presence, by_turns, demand - unmet + xp.minimum(unmet, stock)), axis=1)
    return most / xp.clip(xp.sum(demand, axis=1), min=_TINY)


class MissionMetrics:
    """Accumulates the figures of a batch of missions; missions that are over no longer count.

    Args:
        initial: the missions before their first step.
        config: for distances, the step and the mission time.
    """

    def __init__(self, initial: WorldState, config: Config) -> None:
        """Start with the initial state."""
        self._config = config
        xp = array_namespace(initial.position)
        squared = squared_distances(initial.position, initial.present)
        zero = xp.zeros_like(initial.time_s)
        self._deliverable = deliverable_share(initial)
        self._contact = self._contacts(squared)
        self._closest = _smallest(squared)
        self._share = delivered_share(initial)
        self._share_s = zero
        self._elapsed_s = zero
        self._to_90_s = xp.where(self._share >= _ALMOST_ALL, zero, zero + math.nan)
        self._collisions = zero
        self._agent_s = zero
        self._energy = zero

    def update(self, before: WorldState, after: WorldState, squared_m2: Array | None = None) -> None:
        """Count one step.

        Args:
            before: the missions before the step.
            after: the missions after it.
            squared_m2: [B, N, N] m^2 after the step from `comm_graph.squared_distances`, computed where None.
        """
        xp = array_namespace(after.position)
        squared = squared_distances(after.position, after.present) if squared_m2 is None else squared_m2
        over, out_of_time = finished(before, self._config)
        running = ~(over | out_of_time)
        step_s = xp.where(running, after.time_s - before.time_s, xp.zeros_like(after.time_s))

        contact = self._contacts(squared)
        entered = xp.astype(contact & ~self._contact, step_s.dtype)
        pairs = xp.sum(xp.sum(batch_last(entered), axis=0), axis=0) / 2
        self._collisions = self._collisions + xp.where(running, pairs, xp.zeros_like(pairs))
        self._contact = contact
        self._closest = xp.where(running, xp.minimum(self._closest, _smallest(squared)), self._closest)

        if after.demand is not before.demand:
            self._deliverable = xp.where(running, deliverable_share(after), self._deliverable)
        share = xp.where(running, delivered_share(after), self._share)
        self._share = share
        self._share_s = self._share_s + share * step_s
        self._elapsed_s = self._elapsed_s + step_s
        first = xp.isnan(self._to_90_s) & (share >= _ALMOST_ALL)
        self._to_90_s = xp.where(first, self._elapsed_s, self._to_90_s)

        self._agent_s = self._agent_s + step_s * xp.sum(xp.astype(after.present, step_s.dtype), axis=1)
        change = batch_last(after.velocity) - batch_last(before.velocity)
        squared_change = xp.sum(xp.sum(change * change, axis=1), axis=0)
        self._energy = self._energy + xp.where(
            running, squared_change / xp.clip(step_s, min=_TINY), xp.zeros_like(squared_change)
        )

    def result(self) -> dict[str, Array]:
        """The figures so far, by name, [B] each.

        delivered_fraction; deliverable_fraction, the most that the stock allows at the start, or where demands
        changed since, then; delivered_auc; time_to_90_s, nan if not reached; collisions, events of pairs;
        collisions_per_agent_minute; min_separation_m, infinite for one drone; energy_proxy, m^2/s^3; elapsed_s.
        """
        xp = array_namespace(self._share)
        duration_s = self._config.duration_s
        rest_s = xp.clip(duration_s - self._elapsed_s, min=0.0)
        return {
            "delivered_fraction": self._share,
            "deliverable_fraction": self._deliverable,
            "delivered_auc": (self._share_s + self._share * rest_s) / (self._elapsed_s + rest_s),
            "time_to_90_s": self._to_90_s,
            "collisions": self._collisions,
            "collisions_per_agent_minute": self._collisions / xp.clip(self._agent_s / 60.0, min=_TINY),
            "min_separation_m": xp.sqrt(self._closest),
            "energy_proxy": self._energy,
            "elapsed_s": self._elapsed_s,
        }

    def summary(self, index: int = 0) -> dict[str, float]:
        """The figures of one mission as numbers."""
        return {name: float(values[index]) for name, values in self.result().items()}

    def _contacts(self, squared_m2: Array) -> Array:
        return squared_m2 < self._config.world.collision_distance_m**2


def _smallest(squared_m2: Array) -> Array:
    """[B] the least over pairs."""
    xp = array_namespace(squared_m2)
    return batch_first(xp.min(xp.min(batch_last(squared_m2), axis=0), axis=0))
