"""What decides in a cluster: the interface between the world and every rule or learned policy."""

from __future__ import annotations

from math import inf
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sortie_cluster.cluster_world import ClusterWorld

ROOM = 1e-9
"""Rounding of sums of CPU and memory."""


class Scheduler:
    """Runs on all nodes; each decision is one node's and uses what that node may know.

    Attributes:
        world: the run, since `begin`.
        scope: hops up to which a node knows of, hands to and takes from others; infinite for a central scheduler.
        reach: [N] the others within the scope of each node, nearest first.
        late: whether nodes know of others by reports only.
        again_s: how often a node routes the task anew that waits first at it, s; with reports, on each. 0: never.
    """

    scope: float = 1
    again_s: float = 0.0

    def begin(self, world: ClusterWorld) -> None:
        """A run begins; forget the last one."""
        self.world = world
        self.reach = world.cluster.within(self.scope)
        self.late = world.reports.period_s > 0

    def candidates(self, task: int, node: int) -> list[int]:
        """The node and those in its reach that could ever run a task; where none can, the next one on the way to one.

        What a node has is known to all, since it never changes.
        """
        world = self.world
        if world.able_everywhere(task):
            return [node, *self.reach[node]]
        found = [each for each in (node, *self.reach[node]) if world.able(task, each)]
        if found:
            return found
        able = [each for each in range(world.n_nodes) if world.able(task, each)]
        away = world.cluster.distance
        return [min(self.reach[node], key=lambda each: min(away[each, other] for other in able))]

    def key(self, task: int, queue: int) -> float:
        """The place of a task in a queue: smallest first; ties by the task's number."""
        return self.world.now

    def route(self, task: int, node: int) -> int:
        """Where a task that is at a node goes: itself to keep it, another, N for the central queue, -1 to drop it."""
        return node

    def pull(self, node: int) -> tuple[int, int] | None:
        """What a node starts next: queue and index in it, of a task that fits; None for nothing."""
        return first_fit(self.world, node, node)

    def awake(self, task: int, queue: int) -> Iterable[int]:
        """Which nodes look for work, in turn, because a task has begun to wait in a queue."""
        return (queue,)

    def woken_by_reports(self) -> Iterable[int]:
        """Which nodes look for work again after new reports."""
        return ()

    def announce(self) -> Any:
        """What all nodes add to their reports."""
        return None

    def handed(self, task: int, node: int, target: int) -> None:
        """A task goes over to another node."""

    def finished(self, task: int, node: int) -> None:
        """A task has ended."""

    def dropped(self, task: int, node: int) -> None:
        """A task was given up."""


def first_fit(world: ClusterWorld, queue: int, node: int) -> tuple[int, int] | None:
    """Queue and index of the first task of a queue that fits on a node."""
    waiting = world.queues[queue]
    if not waiting:
        return None
    cpu, memory = world.free_cpu[node] + ROOM, world.free_memory[node] + ROOM
    task_cpu, task_memory = world.cpu, world.memory
    if world.service_s:
        able, kind = world.service_s[node], world.kind
        for index, (_, task) in enumerate(waiting):
            if task_cpu[task] <= cpu and task_memory[task] <= memory and able[kind[task]] < inf:
                return queue, index
        return None
    for index, (_, task) in enumerate(waiting):
        if task_cpu[task] <= cpu and task_memory[task] <= memory:
            return queue, index
    return None


class Dealings(NamedTuple):
    """What a node has had with another one since the last report that it has heard from there.

    Attributes:
        sent: tasks handed over there.
        cpu: cores that these ask for.
        memory: percent of a trace machine that these ask for.
        work_s: predicted work of these, s at speed 1.
        came: tasks that have come from there.
        taken: tasks taken from there.
        refused: times that it was asked for a task in vain.
    """

    sent: int = 0
    cpu: float = 0.0
    memory: float = 0.0
    work_s: float = 0.0
    came: int = 0
    taken: int = 0
    refused: int = 0


NO_DEALINGS = Dealings()
CAME, TAKEN, REFUSED = Dealings(came=1), Dealings(taken=1), Dealings(refused=1)


class DealingsSince:
    """The dealings of each node with each other one, forgotten once a younger report has come from there."""

    def __init__(self, world: ClusterWorld) -> None:
        """Nothing yet."""
        self._world = world
        self._entries: dict[tuple[int, int], list[tuple[float, Dealings]]] = {}
        self._totals: dict[tuple[int, int], Dealings] = {}

    def send(self, task: int, node: int, target: int) -> None:
        """A task goes from a node to another one now."""
        world = self._world
        self.add(node, target, Dealings(1, world.cpu[task], world.memory[task], world.predicted_s[task]))

    def add(self, node: int, other: int, what: Dealings) -> None:
        """A node has something to do with another one now."""
        pair = node, other
        self._entries.setdefault(pair, []).append((self._world.now, what))
        before = self._totals.get(pair)
        self._totals[pair] = Dealings(*map(add, before, what)) if before else what

    def total(self, node: int, other: int, since_s: float) -> Dealings:
        """All that has been since then; what was before is forgotten."""
        pair = node, other
        total = self._totals.get(pair)
        if total is None:
            return NO_DEALINGS
        entries = self._entries[pair]
        if entries[0][0] > since_s:
            return total
        left = [each for each in entries if each[0] > since_s]
        if not left:
            del self._entries[pair], self._totals[pair]
            return NO_DEALINGS
        self._entries[pair] = left
        total = self._totals[pair] = Dealings(*map(sum, zip(*(what for _, what in left), strict=True)))
        return total
