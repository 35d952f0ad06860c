"""The batched point world: drones as double integrators, for training and for large sweeps.

Arrays are NumPy or torch. They are stored with the environment axis last in memory, so that every rule runs along long
contiguous rows; the axes that the caller sees stay [B, N, ...]. On a CPU, batches of about 1,000 environments keep the
pairwise arrays in the cache and are the fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sortie_core.comm_graph import adjacency, squared_distances
from sortie_core.delivery import check_conservation, deliver, finished
from sortie_core.dynamics import follow_velocity
from sortie_core.layout import sample_layout, sample_training_layout
from sortie_core.reward import reward_terms
from sortie_core.state import WorldState, stored_batch_last

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config
    from sortie_core.state import Array


@dataclass
class StepResult:
    """What one step of the batch brought.

    Attributes:
        state: the missions after the step.
        terms: weighted reward terms by name, [B, N] each.
        terminated: [B] bool, every demand is met.
        truncated: [B] bool, the time is up.
        squared_m2: [B, N, N] m^2, squared distances of pairs after the step.
        adjacency: [B, N, N] bool, who hears whom after the step.
    """

    state: WorldState
    terms: dict[str, Array]
    terminated: Array
    truncated: Array
    squared_m2: Array
    adjacency: Array

    @property
    def reward(self) -> Array:
        """[B, N] the sum of the terms."""
        return sum(self.terms.values())

    @property
    def done(self) -> Array:
        """[B] bool: terminated or truncated."""
        return self.terminated | self.truncated


class PointWorld:
    """A batch of missions of double integrators under velocity commands.

    Args:
        config: a whole configuration.
        namespace: which arrays to use; "torch" for training.
        device: torch device, e.g. "cuda"; None for the CPU.
        training_layouts: draw the sizes from the ranges in `train` instead of `team` and `task`.
        check: verify at every step that resources are conserved.
    """

    def __init__(
        self,
        config: Config,
        namespace: Literal["numpy", "torch"] = "torch",
        device: str | None = None,
        training_layouts: bool = False,
        check: bool = False,
    ) -> None:
        """Remember the settings; `reset` makes the missions."""
        self.config = config
        self._namespace = namespace
        self._device = device
        self._sample = sample_training_layout if training_layouts else sample_layout
        self._check = check
        self._state: WorldState | None = None
        self._initial: WorldState | None = None

    @property
    def state(self) -> WorldState:
        """The missions as they are."""
        if self._state is None:
            raise RuntimeError("reset the world before using it")
        return self._state

    def reset(self, seeds: Sequence[int]) -> WorldState:
        """Begin one mission per seed."""
        return self.restart(self._sample(self.config, seeds))

    def restart(self, layout: WorldState) -> WorldState:
        """Begin missions from given layouts, NumPy or of this world's kind."""
        self._state = self._initial = layout.map(self._own)
        return self._state

    def reset_where(self, mask: Array, seeds: Sequence[int]) -> WorldState:
        """Begin new missions in the environments of the mask.

        Args:
            mask: [B] bool.
            seeds: one per True in the mask, in order.
        """
        return self.restart_where(mask, self._sample(self.config, seeds)) if len(seeds) else self.state

    def restart_where(self, mask: Array, layout: WorldState) -> WorldState:
        """Begin missions from given layouts in the environments of the mask, one layout per True, in order."""
        fresh, mask = layout.map(self._own), self._own(mask)
        self._initial = _exchanged(self._initial or self.state, mask, fresh)
        self._state = _exchanged(self.state, mask, fresh)
        return self._state

    def graph(self) -> tuple[Array, Array]:
        """Squared distances and adjacency, [B, N, N] each, of the state as it is."""
        state = self.state
        squared = squared_distances(state.position, state.present)
        return squared, adjacency(state.position, state.alive, self.config.comm.radius_m, squared)

    def step(self, velocity_command: Array, assignment: Array | None = None) -> StepResult:
        """Advance by world.dt_s; missions that are over go on until they are begun anew.

        Args:
            velocity_command: [B, N, D] m/s.
            assignment: [B, N] int, the expert's consumers for the guidance term; -1 or M for none. None leaves it out.
        """
        before = self.state
        position, velocity = follow_velocity(
            before.position, before.velocity, velocity_command, before.alive, self.config.world
        )
        after, served = deliver(before.replace(position=position, velocity=velocity), self.config)
        if self._check and self._initial is not None:
            check_conservation(self._initial, after)
        self._state = after
        squared, linked = self.graph()
        terms = reward_terms(before, after, served, squared, self.config, assignment)
        return StepResult(after, terms, *finished(after, self.config), squared, linked)

    def _own(self, array: Array) -> Array:
        """The array in this world's namespace, device and memory order."""
        if self._namespace == "torch":
            import torch

            return stored_batch_last(torch.as_tensor(array, device=self._device))
        return stored_batch_last(np.asarray(array))


def _exchanged(state: WorldState, mask: Array, fresh: WorldState) -> WorldState:
    """A copy of the state with the environments of the mask taken from `fresh`, in order."""
    changed = state.map(stored_batch_last)
    for name, array in vars(changed).items():
        array[mask] = getattr(fresh, name)
    return changed
