"""What nodes hear of each other: nothing but the truth, or reports that are late and may be lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sortie_cluster.cluster_world import ClusterWorld


@dataclass
class Knowledge:
    """What was so of all nodes at one time.

    Attributes:
        at_s: then, s.
        n_waiting: [N + 1] tasks that wait.
        backlog_s: [N + 1] their predicted work, s at speed 1.
        n_running: [N] tasks that run.
        free_cpu: [N] cores.
        free_memory: [N].
        said: what the scheduler of all nodes adds to their reports; None before the first one.
    """

    at_s: float
    n_waiting: list[int]
    backlog_s: list[float]
    n_running: list[int]
    free_cpu: list[float]
    free_memory: list[float]
    said: Any = None


@dataclass(frozen=True)
class Reports:
    """How nodes report: every `period_s`, heard `delay_s` later, and lost on each link with a probability.

    Attributes:
        period_s: s; 0 means that everybody knows at any time what is true then.
        delay_s: s.
        loss: probability.
    """

    period_s: float = 0.0
    delay_s: float = 0.0
    loss: float = 0.0


class Hearing:
    """The reports of one run.

    Attributes:
        latest: [N][N] number of the last report that each node has heard of each.
        told: reports by number.
        distinct: numbers of the reports that are somebody's latest.
        which: [N, N] index in them of the last report that each node has heard of each.
    """

    def __init__(self, world: ClusterWorld) -> None:
        """Everybody knows of empty queues."""
        self._world, self._reports = world, world.reports
        self._random = np.random.default_rng([world.seed, 7])
        n_nodes = world.n_nodes
        live = world.live
        free = live.free_cpu[:], live.free_memory[:]
        self.told = {0: Knowledge(0.0, [0] * (n_nodes + 1), [0.0] * (n_nodes + 1), [0] * n_nodes, *free)}
        self._last = self._landed = 0
        self._numbers = np.zeros((n_nodes, n_nodes), int)
        self._all_hear(0)

    def tell(self) -> None:
        """Everybody reports now; what was reported a delay ago arrives."""
        world, live = self._world, self._world.live
        self._last += 1
        self.told[self._last] = Knowledge(
            world.now,
            live.n_waiting[:],
            live.backlog_s[:],
            live.n_running[:],
            live.free_cpu[:],
            live.free_memory[:],
            world.scheduler.announce(),
        )
        due_s = world.now - self._reports.delay_s + 1e-9
        while self._landed < self._last and self.told[self._landed + 1].at_s <= due_s:
            self._landed += 1
            self._land(self._landed)

    def _land(self, number: int) -> None:
        if self._reports.loss:
            kept = self._random.random(self._numbers.shape) >= self._reports.loss
            self._numbers[kept] = number
            self._index()
        else:
            self._all_hear(number)
        for old in [old for old in self.told if old < self.distinct[0]]:
            del self.told[old]

    def _all_hear(self, number: int) -> None:
        n_nodes = len(self._numbers)
        self.latest: list[list[int]] = [[number] * n_nodes] * n_nodes
        self.distinct, self.which = [number], np.zeros((n_nodes, n_nodes), int)

    def _index(self) -> None:
        self.latest = self._numbers.tolist()
        distinct, which = np.unique(self._numbers, return_inverse=True)
        self.distinct, self.which = distinct.tolist(), which.reshape(self._numbers.shape)
