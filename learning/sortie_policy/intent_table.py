"""One agent's table of kept intentions, and its form on the air: `kept_intents.KeptIntents` without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.observation import pad, worth

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.observation import Observation
    from sortie_core.packets import LocalView

Array = np.ndarray


@dataclass(frozen=True)
class _Entry:
    """What one agent announced, and how many exchange rounds ago; shapes as in `KeptIntents`, for one agent."""

    age: int
    intent: Array
    stock: Array
    position: Array


class IntentTable:
    """What one agent knows of the others' intentions.

    Args:
        index: the agent's number.
        config: for `policy.exchanges`, `policy.keep_decisions` and the sizes.
    """

    def __init__(self, index: int, config: Config) -> None:
        """Begin without knowing anybody."""
        policy = config.policy
        self._index, self._dimensions, self._most = index, config.task.dimensions, policy.max_resources
        self._max_speed_mps = config.world.max_speed_mps
        self._keep_rounds = policy.keep_decisions * policy.exchanges
        self._entries: dict[int, _Entry] = {}

    def begin(self, n_consumers: int) -> tuple[Array, Array]:
        """Begin a decision.

        Returns:
            The habit, [M], what the agent itself announced last, zero before; and the known stock of others, [R*].
        """
        own = self._entries.pop(self._index, None)
        if not self._keep_rounds:
            self._entries = {}
        known = np.zeros(self._most, np.float32)
        for _, entry in sorted(self._entries.items()):
            known += pad(entry.stock, self._most)
        if own is None:
            return np.zeros(n_consumers, np.float32), known
        self._entries[self._index] = own
        return own.intent, known

    def announce(self, attention: Array, view: LocalView) -> Array:
        """One round later: the payload to broadcast, [M + 1] attention, then position, stock and all entries.

        Args:
            attention: [M + 1] of the agent itself.
            view: where it is and what it carries.
        """
        older = {sender: _Entry(e.age + 1, e.intent, e.stock, e.position) for sender, e in self._entries.items()}
        self._entries = {sender: entry for sender, entry in older.items() if entry.age <= self._keep_rounds}
        position, stock = (np.asarray(each, np.float32) for each in (view.position, view.stock))
        self._entries[self._index] = _Entry(0, attention[:-1], stock, position)
        others = [entry for entry in self._entries.items() if entry[0] != self._index]
        told = [[np.float32(sender), np.float32(e.age), *e.position, *e.stock, *e.intent] for sender, e in others]
        return np.concatenate([attention, position, stock, *told], dtype=np.float32)

    def hear(self, payloads: dict[int, Array], rounds_ago: dict[int, int]) -> None:
        """Keep the freshest entry about everybody, from what neighbours announced.

        Args:
            payloads: what `announce` returned, by sender.
            rounds_ago: how many rounds ago it did, by sender; 0 for this round.
        """
        own = self._entries[self._index]
        n_consumers, n_resources = len(own.intent), len(own.stock)
        start = n_consumers + 1 + self._dimensions + n_resources
        for sender, payload in sorted(payloads.items()):
            position, stock = np.split(payload[n_consumers + 1 : start], [self._dimensions])
            late = rounds_ago[sender]
            self._take(sender, _Entry(late, payload[:n_consumers], stock, position))
            for row in payload[start:].reshape(-1, 2 + self._dimensions + n_resources + n_consumers):
                position, stock, intent = np.split(row[2:], [self._dimensions, self._dimensions + n_resources])
                self._take(int(row[0]), _Entry(late + int(row[1]), intent, stock, position))

    def _take(self, about: int, entry: _Entry) -> None:
        known = self._entries.get(about)
        if about != self._index and (known is None or entry.age < known.age):
            self._entries[about] = entry

    def supply(self, seen: Observation) -> tuple[Array, Array]:
        """What the others intend to bring to each consumer, and those whose visit is worth more, [M, R*] each.

        Args:
            seen: the agent's observation, B = N = 1.
        """
        mine = self._worth(seen, seen.stock[0, 0], seen.position[0, 0])
        supply, stronger = np.zeros((2, *seen.need[0].shape), np.float32)
        for sender, entry in sorted(self._entries.items()):
            if sender != self._index:
                stock = pad(entry.stock, self._most)
                intended = entry.intent[:, None] * stock
                supply += intended
                stronger += intended * (self._worth(seen, stock, entry.position) > mine)[:, None]
        return supply, stronger

    def _worth(self, seen: Observation, stock: Array, position: Array) -> Array:
        """[M] of a visit by an agent with this stock [R*] from this position [D]."""
        distance = np.linalg.norm(seen.consumer_position[0] - position, axis=-1)
        return worth(stock, seen.need[0], distance, self._max_speed_mps)
