"""What one agent knows of the demands, where they are sensed and relayed: `DemandKnowledge` for one agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sortie_core.observation import to_be_chosen

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.packets import LocalView

Array = np.ndarray


class DemandTable:
    """Knowledge of consumers by number, each with the tick at which somebody sensed it.

    Args:
        config: for the sensing radius and the sizes.
    """

    def __init__(self, config: Config) -> None:
        """Begin without knowing anything."""
        self._radius_m, self._dimensions = config.task.sensing_radius_m, config.task.dimensions
        self._width = 2 + config.task.dimensions + config.task.n_resources
        self._rows: dict[int, Array] = {}
        self._waiting: list[Array] = []

    def begin(self, view: LocalView, need: Array) -> Array:
        """Begin a decision: take in what came since the last one, and what is within reach of the senses.

        Args:
            view: where the agent is.
            need: [M, R] what the consumers truly ask, of which only those near are looked at.

        Returns:
            The payload to tell, a row of [consumer, tick, position, need] for each that is known.
        """
        for payload in self._waiting:
            self._take(payload)
        self._waiting = []
        place = np.asarray(view.consumers.position, np.float32)
        gap = place - np.asarray(view.position, np.float32)
        for consumer in np.flatnonzero((gap * gap).sum(axis=1) <= min(self._radius_m**2, 3e38)):
            row = np.array([consumer, view.tick, *place[consumer], *need[consumer]], np.float32)
            self._rows[int(consumer)] = row
        return np.concatenate([np.zeros(0, np.float32), *(self._rows[consumer] for consumer in sorted(self._rows))])

    def hear(self, payload: Array, now: bool) -> None:
        """What a neighbour told.

        Args:
            payload: from `begin`.
            now: it came with the tick of a decision; else it counts from the next decision on.
        """
        if now:
            self._take(payload)
        elif len(payload):
            self._waiting.append(payload)

    def known(self, n_consumers: int) -> tuple[Array, Array, Array]:
        """Position [M, D] m and need [M, R] of the consumers, zero where unknown, and [M] bool which may be chosen."""
        table = np.zeros((n_consumers, self._width), np.float32)
        for consumer, row in self._rows.items():
            table[consumer] = row
        _, _, place, need = np.split(table, [1, 2, 2 + self._dimensions], axis=1)
        return place, need, to_be_chosen(need)

    def _take(self, payload: Array) -> None:
        for row in payload.reshape(-1, self._width):
            known = self._rows.get(int(row[0]))
            if known is None or row[1] > known[1]:
                self._rows[int(row[0])] = row
