"""What a batch of teams knows of its neighbours' motion: beacons, late and lost as the radio has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Comm
    from sortie_core.state import Array, WorldState


class Beacons:
    """Round 0 of every tick, over comm.latency_steps ticks: what is heard now was sent then, over the links of then.

    Args:
        comm: the radio's section of the configuration.
        uniform: draws arrays of a shape, uniform in [0, 1), for the losses.

    Attributes:
        flying: what was sent and is not heard yet, by tick.
    """

    def __init__(self, comm: Comm, uniform: Callable[[tuple[int, ...]], Array]) -> None:
        """Nothing is on its way."""
        self._comm, self._uniform = comm, uniform
        self.flying: list[tuple[WorldState, Array]] = []

    def exchange(self, state: WorldState, linked: Array) -> tuple[WorldState, Array]:
        """One tick.

        Args:
            state: the missions at the tick.
            linked: [B, N, N] bool, who is in range of whom.

        Returns:
            The missions when that was sent which is heard now; and [B, N, N] bool, whether i hears j.
        """
        arrives = linked & (self._uniform(linked.shape) >= self._comm.loss) if self._comm.loss else linked
        if not self._comm.latency_steps:
            return state, arrives
        self.flying.append((state, arrives))
        if len(self.flying) <= self._comm.latency_steps:
            return state, array_namespace(linked).zeros_like(linked)
        return self.flying.pop(0)

    def forget(self, where: Array) -> None:
        """Nothing is on its way in the missions of the mask [B] bool, which begin anew."""
        self.flying = [(state, linked & ~where[:, None, None]) for state, linked in self.flying]
