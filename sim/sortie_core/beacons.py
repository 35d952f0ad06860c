"""What a batch of teams knows of its neighbours' motion: beacons, late and lost as the radio has it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from sortie_core.action import REMEMBERED_TICKS, Neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState


class Beacons:
    """Round 0 of every tick, over comm.latency_steps ticks: what is heard now was sent then, over the links of then.

    Where packets get lost, the last beacon of a neighbour counts for some ticks more. From where it was sent, a drone
    is taken to have gone straight on.

    Args:
        config: for the radio and the tick.
        uniform: draws arrays of a shape, uniform in [0, 1), for the losses.

    Attributes:
        flying: what was sent and is not heard yet, by tick.
        last: when the last beacon that i heard of j was sent, [B, N, N] s, and position and velocity in it,
            [B, N, N, D]; None where none gets lost.
    """

    def __init__(self, config: Config, uniform: Callable[[tuple[int, ...]], Array]) -> None:
        """Nothing is on its way."""
        self._comm, self._dt_s, self._uniform = config.comm, config.world.dt_s, uniform
        self.flying: list[tuple[WorldState, Array]] = []
        self.last: tuple[Array, Array, Array] | None = None

    def exchange(self, state: WorldState, linked: Array) -> Neighbours:
        """One tick.

        Args:
            state: the missions at the tick.
            linked: [B, N, N] bool, who is in range of whom.
        """
        if self._comm.loss:
            linked = linked & (self._uniform(linked.shape) >= self._comm.loss)
        told, heard = self._delayed(state, linked)
        if self._comm.loss:
            return self._remembered(state, told, heard)
        place = told.position
        if told is not state:
            place = place + (state.time_s - told.time_s)[:, None, None] * told.velocity
        return Neighbours(place[:, None], told.velocity[:, None], heard)

    def forget(self, where: Array) -> None:
        """Nothing is on its way or remembered in the missions of the mask [B] bool, which begin anew."""
        self.flying = [(state, linked & ~where[:, None, None]) for state, linked in self.flying]
        if self.last:
            xp, (sent_s, position, velocity) = array_namespace(where), self.last
            gone = xp.where(where[:, None, None], xp.full_like(sent_s, -math.inf), sent_s)
            self.last = (gone, position, velocity)

    def _delayed(self, state: WorldState, linked: Array) -> tuple[WorldState, Array]:
        """The missions when that was sent which is heard now; and [B, N, N] bool, whether i hears j."""
        if not self._comm.latency_steps:
            return state, linked
        self.flying.append((state, linked))
        if len(self.flying) <= self._comm.latency_steps:
            return state, array_namespace(linked).zeros_like(linked)
        return self.flying.pop(0)

    def _remembered(self, state: WorldState, told: WorldState, heard: Array) -> Neighbours:
        xp = array_namespace(heard)
        sent_s = xp.astype(heard, told.time_s.dtype) * told.time_s[:, None, None]
        place, velocity = (
            xp.broadcast_to(v[:, None], (*heard.shape, v.shape[-1])) for v in (told.position, told.velocity)
        )
        if self.last is None:
            sent_s = xp.where(heard, sent_s, xp.full_like(sent_s, -math.inf))
        else:
            before_s, was, went = self.last
            sent_s = xp.where(heard, sent_s, before_s)
            place, velocity = xp.where(heard[..., None], place, was), xp.where(heard[..., None], velocity, went)
        self.last = (sent_s, place, velocity)
        late_s = state.time_s[:, None, None] - sent_s
        # Half a tick more, against the rounding of sums of dt.
        known = late_s < (self._comm.latency_steps + REMEMBERED_TICKS + 0.5) * self._dt_s
        late_s = xp.where(known, late_s, xp.zeros_like(late_s))
        return Neighbours(place + late_s[..., None] * velocity, velocity, known)
