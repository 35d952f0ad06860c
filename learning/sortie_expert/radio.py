"""Rounds of broadcasts among the agents of a batch of teams, with their losses and their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sortie_core.comm_graph import adjacency
from sortie_core.packets import HEADER_BYTES

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState

_FLOAT_BYTES = 4
_STREAM = 0x5AD10
"""Sets the losses apart from other draws of the same seed."""


class Radio:
    """The links of comm.radius_m, on which packets get lost independently of each other.

    Args:
        config: for the seed and the radio.

    Attributes:
        bytes_sent: [B] by all agents of a team so far; of shape [1] before the first packet.
        delay_decisions: a packet arrives this many decisions after it was sent; 0 within the round.
    """

    def __init__(self, config: Config) -> None:
        self._radius_m, self._loss = config.comm.radius_m, config.comm.loss
        self._random = np.random.default_rng([config.seed, _STREAM])
        self.lossy = self._loss > 0
        self.delay_decisions = -(-config.comm.latency_steps // config.policy.decision_steps)
        self.bytes_sent = np.zeros(1)

    def links(self, state: WorldState) -> np.ndarray:
        """[B, N, N] bool, who is in range of whom, for a NumPy state."""
        return np.ascontiguousarray(adjacency(state.position, state.alive, self._radius_m))

    def heard(self, links: np.ndarray) -> np.ndarray:
        """[B, N, N] bool, whether i hears what j broadcasts in a round of its own."""
        return links & (self._random.random(links.shape) >= self._loss) if self.lossy else links

    def count(self, floats: np.ndarray) -> None:
        """One packet of each agent with as many floats, [B, N] int; no packet where there are none."""
        size = HEADER_BYTES * (floats > 0) + _FLOAT_BYTES * floats
        self.bytes_sent = self.bytes_sent + size.sum(axis=1)
