"""Which task is where: it arrives, waits, is claimed, runs and ends. No ROS in here.

Claims are served one after the other, so that no task is given twice; what cannot be granted any more is refused
without a word, and the agent sees on the next tick what it has got. Everything is written down in a `Schedule`, of the
same form as that of the simulated world.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_bridge.backends import Finished, Lost, NodeBack, NodeGone
from sortie_cluster.schedule import Schedule
from sortie_cluster.scheduler import first_fit
from sortie_core.packets import QueuedTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sortie_bridge.backends import Event
    from sortie_cluster.cluster import Cluster
    from sortie_cluster.workload import Workload
    from sortie_core.packets import HandOver


class Start(NamedTuple):
    """A task that a node has been given."""

    task: int
    node: int


class RunOfTask(NamedTuple):
    """A task on a node.

    Attributes:
        attempt: how often it had been cut short before.
        began_s, ended_s: s of the trace; NaN while it runs.
        lost: whether it was cut short.
    """

    task: int
    node: int
    attempt: int
    began_s: float
    ended_s: float = math.nan
    lost: bool = False


class TaskLedger:
    """The tasks of one run; N nodes, n tasks.

    Attributes:
        queues: [N] placed tasks as (key, task) in order.
        unplaced: [N] tasks that have come to a node whose agent has not decided yet.
        free_cpu, free_memory: [N]; nothing where the worker is gone.
        running: [N] task and when it should end by prediction, s.
        alive: [N] the worker is there.
        attended: [N] the agent is there.
        hops: [n] how often each task was handed over.
        been: [n] nodes that have handed each task on, in turn.
        taken_from: [N] others' queues that each node was given tasks of between the last two ticks, in turn.
        cpu, memory, service_s: as of `sortie_cluster.cluster_world.ClusterWorld`, for `first_fit`.
        log: what has happened.
        news: runs that have begun or ended since somebody has emptied it.
    """

    def __init__(self, cluster: Cluster, workload: Workload, max_hops: int) -> None:
        """Nothing has arrived."""
        self.cluster, self.workload, self._max_hops = cluster, workload, max_hops
        n_nodes, n_tasks = len(cluster), len(workload)
        self.cpu, self.memory = workload.cpu.tolist(), workload.memory.tolist()
        self.service_s: list[list[float]] = []
        self.queues: list[list[tuple[float, int]]] = [[] for _ in range(n_nodes)]
        self.unplaced: list[list[int]] = [[] for _ in range(n_nodes)]
        self.running: list[dict[int, float]] = [{} for _ in range(n_nodes)]
        self.free_cpu, self.free_memory = cluster.cpu.tolist(), cluster.memory.tolist()
        self.alive, self.attended = [True] * n_nodes, [True] * n_nodes
        self.hops = [0] * n_tasks
        self.been: list[tuple[int, ...]] = [()] * n_tasks
        self.taken_from: list[tuple[int, ...]] = [()] * n_nodes
        self._taking: list[tuple[int, ...]] = [()] * n_nodes
        self.log = Schedule.empty(cluster, workload, max_hops)
        self.news: list[RunOfTask] = []
        self._attempts = [0] * n_tasks
        self._following = 0
        self._open = [len(each) for each in workload.parents] or [0] * n_tasks
        self._children: list[list[int]] = [[] for _ in range(n_tasks)]
        for task, parents in enumerate(workload.parents):
            for parent in parents:
                self._children[parent].append(task)
        self.n_ended = 0

    @property
    def done(self) -> bool:
        """All tasks have ended."""
        return self.n_ended == len(self.workload)

    # What happens.

    def begin_tick(self) -> None:
        """Agents are told now what they were given since they were told last."""
        self.taken_from, self._taking = self._taking, [()] * len(self._taking)

    def release(self, now_s: float) -> None:
        """Tasks arrive at their nodes, as far as they depend on none that has not ended."""
        arrival_s = self.workload.arrival_s
        while self._following < len(arrival_s) and arrival_s[self._following] <= now_s + 1e-9:
            task, self._following = self._following, self._following + 1
            if not self._open[task]:
                self._arrive(task, float(arrival_s[task]))

    def _arrive(self, task: int, at_s: float) -> None:
        entry = int(self.workload.entry[task])
        self.log.ready_s[task] = at_s
        self.unplaced[entry].append(task)
        if not self.attended[entry]:
            self._evacuate(entry, at_s)

    def note(self, event: Event) -> None:
        """Something has happened on the backend."""
        if isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Lost):
            self._lose(event)
        elif isinstance(event, NodeGone | NodeBack):
            self.alive[event.node] = isinstance(event, NodeBack)
            self._count(event.node)

    def _finish(self, event: Finished) -> None:
        task, log = event.task, self.log
        if task not in self.running[event.node]:
            return
        del self.running[event.node][task]
        self._count(event.node)
        if not math.isnan(event.began_s):
            log.begin_s[task] = max(event.began_s, log.ready_s[task])
        log.end_s_of[task] = event.ended_s
        self.n_ended += 1
        self._tell(task, event.node, event.ended_s)
        for child in self._children[task]:
            self._open[child] -= 1
            if not self._open[child] and child < self._following:
                self._arrive(child, event.ended_s)

    def _lose(self, event: Lost) -> None:
        """It waits again, where it ran."""
        if event.task not in self.running[event.node]:
            return
        del self.running[event.node][event.task]
        self._count(event.node)
        self._tell(event.task, event.node, event.at_s, lost=True)
        self.log.lose(event.task, event.node, max(event.at_s, self.log.begin_s[event.task]))
        self._attempts[event.task] += 1
        self.unplaced[event.node].append(event.task)
        if not self.attended[event.node]:
            self._evacuate(event.node, event.at_s)

    def _tell(self, task: int, node: int, ended_s: float = math.nan, *, lost: bool = False) -> None:
        self.news.append(RunOfTask(task, node, self._attempts[task], self.log.begin_s[task], ended_s, lost))

    def _count(self, node: int) -> None:
        """What is free on a node, from what runs on it; nothing is added up over time."""
        cluster, tasks, there = self.cluster, list(self.running[node]), self.alive[node]
        cpu, memory = (float(most[node]) if there else 0.0 for most in (cluster.cpu, cluster.memory))
        self.free_cpu[node] = max(0.0, cpu - sum(self.cpu[task] for task in tasks))
        self.free_memory[node] = max(0.0, memory - sum(self.memory[task] for task in tasks))

    def abandon(self, node: int, now_s: float) -> None:
        """A node's agent is lost: its tasks go to the nearest that is attended; what runs there goes on."""
        self.attended[node] = False
        self._evacuate(node, now_s)

    def _evacuate(self, node: int, now_s: float) -> None:
        others = [each for each, attended in enumerate(self.attended) if attended]
        if not others:
            return
        target = min(others, key=lambda each: (self.cluster.distance[node, each], each))
        tasks = [*self.unplaced[node], *(task for _, task in self.queues[node])]
        self.unplaced[node], self.queues[node] = [], []
        for task in tasks:
            self.log.take_over(task, node, target, now_s)
            self.unplaced[target].append(task)

    # What agents decide.

    def settle(self, node: int, hand_overs: Iterable[HandOver], asks: Iterable[int], now_s: float) -> list[Start]:
        """Carry out one agent's claim: where its new tasks go, what it takes, and which waiting task it hands on.

        Returns:
            The tasks that it has been given, and that are to be started.
        """
        hand_overs = list(hand_overs)
        self.place(node, hand_overs, now_s)
        started = self.take(node, asks, now_s)
        self.hand_on(node, hand_overs, now_s)
        return started

    def place(self, node: int, hand_overs: Iterable[HandOver], now_s: float) -> None:
        """Carry out where the new tasks of a claim go."""
        for task, target, key in hand_overs if self.attended[node] else ():
            self._hand_over(node, task, target, key, now_s)

    def hand_on(self, node: int, hand_overs: Iterable[HandOver], now_s: float) -> None:
        """Carry out which tasks go elsewhere after all, of those that wait in the node's queue."""
        placed = {task: key for key, task in self.queues[node]}
        for task, target, _ in hand_overs if self.attended[node] else ():
            if task in placed and self._hears(node, target):
                self.queues[node].remove((placed[task], task))
                self.hops[task] = 1
                self._move(task, node, target, now_s, again=True)

    def _hears(self, node: int, target: int) -> bool:
        """Whether a task can be handed over to another node."""
        there = 0 <= target < len(self.queues) and self.attended[target]
        return there and target != node and bool(self.cluster.linked[node, target])

    def _hand_over(self, node: int, task: int, target: int, key: float, now_s: float) -> None:
        if task not in self.unplaced[node]:
            return
        able = self.cpu[task] <= self.cluster.cpu[node] and self.memory[task] <= self.cluster.memory[node]
        if self._hears(node, target) and not (able and self.hops[task] >= self._max_hops):
            self.hops[task] += 1
            self._move(task, node, target, now_s)
        elif target == node:
            insort(self.queues[node], (key, task))
        else:
            return
        self.unplaced[node].remove(task)

    def _move(self, task: int, node: int, target: int, now_s: float, *, again: bool = False) -> None:
        self.log.hand_over(task, node, target, now_s, again=again)
        self.been[task] += (node,)
        self.unplaced[target].append(task)

    def take(self, node: int, asks: Iterable[int], now_s: float) -> list[Start]:
        """Carry out what a claim takes: of each queue asked the first task that there is room for."""
        started: list[Start] = []
        for queue in asks if self.attended[node] else ():
            reached = 0 <= queue < len(self.queues) and (queue == node or self.cluster.linked[node, queue])
            if not reached or not self.alive[node]:
                continue
            ledger: object = self  # has what `first_fit` reads of a world
            if not (found := first_fit(ledger, queue, node)):  # type: ignore[arg-type]
                continue
            _, task = self.queues[queue].pop(found[1])
            if queue != node:
                self.log.take_over(task, queue, node, now_s)
                self._taking[node] += (queue,)
            self.log.begin(task, node, now_s)
            self._tell(task, node)
            predicted_s = float(self.workload.predicted_s[task]) / float(self.cluster.speed[node])
            self.running[node][task] = now_s + predicted_s
            self._count(node)
            started.append(Start(task, node))
        return started

    # What agents see.

    def queue(self, node: int, now_s: float) -> tuple[QueuedTask, ...]:
        """The tasks that wait at a node: those in its queue in order, then those that have newly come."""
        placed = [self._seen(task, key, now_s, placed=True) for key, task in self.queues[node]]
        return (*placed, *(self._seen(task, 0.0, now_s, placed=False) for task in self.unplaced[node]))

    def _seen(self, task: int, key: float, now_s: float, *, placed: bool) -> QueuedTask:
        return QueuedTask(
            task,
            (self.cpu[task], self.memory[task]),
            float(self.workload.predicted_s[task]),
            max(0.0, now_s - self.log.ready_s[task]),
            placed,
            key,
            self.hops[task],
            self.been[task],
        )

    def running_s(self, node: int, now_s: float) -> tuple[float, ...]:
        """Predicted time until each task on a node ends, s."""
        return tuple(max(0.0, end_s - now_s) for end_s in self.running[node].values())

    def stock(self, node: int) -> tuple[float, float]:
        """Free CPU and memory of a node."""
        return self.free_cpu[node], self.free_memory[node]

    def waiting(self) -> np.ndarray:
        """[N, 2] CPU and memory that the tasks in each queue ask for."""
        return np.array([self._asked(node) for node in range(len(self.queues))])

    def _asked(self, node: int) -> tuple[float, float]:
        tasks: Sequence[int] = [*(task for _, task in self.queues[node]), *self.unplaced[node]]
        return sum(self.cpu[task] for task in tasks), sum(self.memory[task] for task in tasks)


def as_measured(log: Schedule) -> Schedule:
    """The same schedule, of tasks whose work is what it was measured to be: reality keeps no promise."""
    took_s = np.array(log.end_s_of) - np.array(log.begin_s)
    measured_s = took_s * log.cluster.speed[np.clip(log.node, 0, None)]
    work_s = np.where(np.isnan(measured_s), np.inf, measured_s)
    return replace(log, workload=replace(log.workload, work_s=work_s))
