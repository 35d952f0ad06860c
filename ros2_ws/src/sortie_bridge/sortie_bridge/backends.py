"""What carries tasks out: the interface of every backend, and the one that simulates. No ROS in here.

All times are seconds of the trace since `begin`. A backend has no queue: who calls it submits a task only when its node
has room, since a queue behind the agents would hide what they decide.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from sortie_cluster.cluster import Cluster


class Finished(NamedTuple):
    """A task has ended; `cpu_s` is the processor time that it burnt, NaN where none is burnt."""

    task: int
    node: int
    began_s: float
    ended_s: float
    cpu_s: float = math.nan


class Lost(NamedTuple):
    """A run was cut short; the task may be submitted again."""

    task: int
    node: int
    at_s: float


class NodeGone(NamedTuple):
    """A node's worker has died."""

    node: int
    at_s: float


class NodeBack(NamedTuple):
    """A node's worker is there again, with nothing on it."""

    node: int
    at_s: float


Event = Finished | Lost | NodeGone | NodeBack


class Backend(Protocol):
    """A cluster that runs tasks.

    Attributes:
        nodes: CPU, memory and speed of each node.
    """

    nodes: Cluster

    def begin(self) -> None:
        """A run begins, at time zero; what an earlier one has left is given up."""

    def now_s(self, tick_s: float) -> float:
        """What time it is when the mission's clock shows `tick_s`."""

    def submit(self, task: int, node: int, work_s: float, cpu: float, memory: float, at_s: float) -> None:
        """Start a task on a node that has room for it.

        Args:
            task: number, not running anywhere.
            node: number of a node that is not gone.
            work_s: time on a node of speed 1.
            cpu: cores.
            memory: percent of a trace machine's memory.
            at_s: now.
        """

    def events(self, until_s: float) -> list[Event]:
        """What has happened since the last call, up to then, in order."""

    def kill(self, node: int, at_s: float) -> None:
        """End a node's worker without warning, now."""

    def close(self) -> None:
        """Give everything back."""


# Of events at the same time, what frees comes first.
_ENDS, _RETURNS, _DIES = range(3)


class SimulatedBackend:
    """Tasks take as long as they need; nothing runs. Deterministic.

    Args:
        nodes: the cluster.
        failures: node, when its worker dies, and when it is back, s.
        restart_s: how long a killed worker is gone.
    """

    def __init__(
        self, nodes: Cluster, failures: tuple[tuple[int, float, float], ...] = (), restart_s: float = 10.0
    ) -> None:
        """Nothing runs."""
        self.nodes, self._failures, self._restart_s = nodes, failures, restart_s
        self.begin()

    def begin(self) -> None:
        """Start again from nothing."""
        self._heap: list[tuple[float, int, int, int, float]] = []
        self._running: dict[int, tuple[int, float]] = {}
        for node, at_s, back_s in self._failures:
            self._fail(node, at_s, back_s)

    def now_s(self, tick_s: float) -> float:
        """The mission's clock is the only one."""
        return tick_s

    def submit(self, task: int, node: int, work_s: float, cpu: float, memory: float, at_s: float) -> None:
        """Start a task."""
        self._running[task] = (node, at_s)
        heappush(self._heap, (at_s + work_s / float(self.nodes.speed[node]), _ENDS, task, node, at_s))

    def kill(self, node: int, at_s: float) -> None:
        """The worker dies, and is back after `restart_s`."""
        self._fail(node, at_s, at_s + self._restart_s)

    def _fail(self, node: int, at_s: float, back_s: float) -> None:
        heappush(self._heap, (at_s, _DIES, node, node, at_s))
        heappush(self._heap, (back_s, _RETURNS, node, node, back_s))

    def events(self, until_s: float) -> list[Event]:
        """Ends and failures in order of time."""
        found: list[Event] = []
        while self._heap and self._heap[0][0] <= until_s + 1e-9:
            at_s, kind, subject, node, began_s = heappop(self._heap)
            if kind == _RETURNS:
                found.append(NodeBack(node, at_s))
            elif kind == _ENDS:
                if self._running.get(subject) == (node, began_s):  # else it was lost
                    del self._running[subject]
                    found.append(Finished(subject, node, began_s, at_s))
            else:
                found.append(NodeGone(node, at_s))
                lost = sorted(task for task, (where, _) in self._running.items() if where == node)
                for task in lost:
                    del self._running[task]
                    found.append(Lost(task, node, at_s))
        return found

    def close(self) -> None:
        """Nothing to give back."""
