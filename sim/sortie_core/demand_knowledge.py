"""What agents know of the demands where those are not broadcast but sensed, and relayed by neighbours.

At every decision an agent senses the consumers within task.sensing_radius_m, and its beacon of that tick carries what
it knows of each consumer and when that was sensed. Of what it senses and hears, the freshest counts (this project's
design). A slow radio brings what was told at the decision before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_core.delivery import outstanding

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState


@dataclass
class DemandKnowledge:
    """Entry [b, i, m] is what agent i knows of consumer m; positions do not change, and are known with the rest.

    Attributes:
        sensed_s: [B, N, M] mission time at which it was sensed, s; -inf where nothing is known.
        need: [B, N, M, R] what was still asked then.
        told: what was told at the last decision; itself without this.
        links: [B, N, N] bool, over which links; None with `told`.
    """

    sensed_s: Array
    need: Array
    told: DemandKnowledge | None = None
    links: Array | None = None

    @classmethod
    def nothing(cls, state: WorldState) -> DemandKnowledge:
        """Of agents that begin; `state` gives the sizes."""
        xp, device = array_namespace(state.demand), device_of(state.demand)
        (batch, n_consumers, n_resources), n_agents = state.demand.shape, state.stock.shape[1]
        sizes, dtype = (batch, n_agents, n_consumers), state.demand.dtype
        blank = cls(
            xp.full(sizes, -math.inf, dtype=dtype, device=device),
            xp.zeros((*sizes, n_resources), dtype=dtype, device=device),
        )
        return replace(blank, told=blank, links=xp.zeros((batch, n_agents, n_agents), dtype=xp.bool, device=device))

    @property
    def known(self) -> Array:
        """[B, N, M] bool."""
        return self.sensed_s > -math.inf

    def map(self, function: Any) -> DemandKnowledge:
        """With `function` applied to every array."""
        told, links = self.told, self.links
        return DemandKnowledge(
            function(self.sensed_s),
            function(self.need),
            None if told is None else told.map(function),
            None if links is None else function(links),
        )

    def forgotten(self, where: Array) -> DemandKnowledge:
        """Without any knowledge in the missions of the mask [B] bool."""
        xp = array_namespace(self.sensed_s)
        gone = xp.where(where[:, None, None], xp.full_like(self.sensed_s, -math.inf), self.sensed_s)
        links = None if self.links is None else self.links & ~where[:, None, None]
        return replace(self, sensed_s=gone, links=links)

    def learned(self, state: WorldState, linked: Array, config: Config) -> DemandKnowledge:
        """What is known at the next decision.

        Args:
            state: the missions at that decision.
            linked: [B, N, N] bool, over which links the beacons of that tick arrive.
            config: for the sensing radius and the latency.
        """
        latency, known = config.comm.latency_steps, self
        if 0 < latency < config.policy.decision_steps:
            known = known._heard(self.told, self.links)
        told = known._sensed(state, config)
        known = told
        if not latency:
            known = told._heard(told, linked)
        elif latency == config.policy.decision_steps:
            # What comes with the very tick of the decision is too late to be passed on in it.
            known = told._heard(self.told, self.links)
        return replace(known, told=replace(told, told=None, links=None), links=linked)

    def _sensed(self, state: WorldState, config: Config) -> DemandKnowledge:
        xp = array_namespace(state.position)
        gap = state.position[:, :, None, :] - state.consumer_position[:, None, :, :]
        near = xp.sum(gap * gap, axis=-1) <= min(config.task.sensing_radius_m**2, 3e38)
        near = near & state.alive[:, :, None]
        return replace(
            self,
            sensed_s=xp.where(near, state.time_s[:, None, None], self.sensed_s),
            need=xp.where(near[..., None], outstanding(state, config)[:, None], self.need),
        )

    def _heard(self, told: DemandKnowledge | None, links: Array | None) -> DemandKnowledge:
        """The freshest of what is known and of what neighbours told."""
        if told is None or links is None:
            raise ValueError("what was told knows of nothing that was told before")
        xp = array_namespace(self.sensed_s)
        sensed_s, need = self.sensed_s, self.need
        for sender in range(sensed_s.shape[1]):
            offered = told.sensed_s[:, sender, None, :]
            fresher = links[:, :, sender, None] & (offered > sensed_s)
            sensed_s = xp.where(fresher, offered, sensed_s)
            need = xp.where(fresher[..., None], told.need[:, sender, None], need)
        return replace(self, sensed_s=sensed_s, need=need)
