"""The event-driven world: tasks arrive, are handed between nodes, wait, run and end.

Two verbs move a task. At its arrival, and after every hop, the node that holds it keeps it or hands it to another one
(push); a node with room takes a waiting task from its own queue or another's (pull). Who decides is a `Scheduler`; the
world carries out, and writes down everything that happens in a `Schedule`. It is deterministic: events at the same time
are processed in a fixed order, and it draws no random numbers but for lost reports, by seed.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from heapq import heappop, heappush
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

from sortie_cluster.reports import Hearing, Knowledge, Reports
from sortie_cluster.schedule import Schedule

if TYPE_CHECKING:
    from sortie_cluster.cluster import Cluster
    from sortie_cluster.scheduler import Scheduler
    from sortie_cluster.workload import Workload

# Of events at the same time, what frees comes before what asks.
_FINISH, _RECOVER, _FAIL, _TICK, _START, _ARRIVE = range(6)
_VAIN_TICKS = 100
"""Ticks after which tasks that still wait while nothing runs are the backlog, lost reports included."""
_TOLERANCE = 1e-9
"""Rounding of sums of CPU and memory."""


class ClusterWorld:
    """One run of a workload on a cluster.

    Schedulers read these lists and never change them; N nodes and, after them, the central queue of number N.

    Attributes:
        now: time, s.
        free_cpu: [N] cores.
        free_memory: [N].
        n_running: [N].
        n_waiting: [N + 1].
        backlog_s: [N + 1] predicted work of the tasks that wait, s at speed 1.
        queues: [N + 1] waiting tasks in the order of their keys, as tuples (key, task).
        cpu, memory, work_s, predicted_s, kind, entry, arrival_s: [n] of each task, see `Workload`.
        hops: [n] how often each task has been handed over before it was kept.
        neighbours: [N] tuples.
        live: what there is to know of every node at this moment (its `at_s` is not kept up).
        running: [N] when each task on a node, or on its way there, should end by prediction, s.
        hearing: the reports, where nodes do not know at any time what is true.
        n_events: arrivals, hops, starts, ends, failures and reports so far.
        decision_s: wall-clock time that the scheduler took per arrival, where `timed`.
    """

    def __init__(
        self,
        cluster: Cluster,
        workload: Workload,
        scheduler: Scheduler,
        reports: Reports | None = None,
        *,
        max_hops: int = 6,
        drop: bool = False,
        failures: tuple[tuple[int, float, float], ...] = (),
        seed: int = 0,
        timed: bool = False,
    ) -> None:
        """Set up an empty cluster.

        Args:
            cluster: the nodes.
            workload: the tasks.
            scheduler: decides.
            reports: what nodes hear of each other; None for what is true now.
            max_hops: how often a task is handed over before it must stay.
            drop: whether a task that may not be handed over any more, and cannot stay, is dropped.
            failures: node, when it fails, and when it is back, s.
            seed: of lost reports, and of the scheduler.
            timed: measure how long decisions take.
        """
        self.cluster, self.workload, self.scheduler = cluster, workload, scheduler
        self.reports = reports or Reports()
        self.max_hops, self.drop, self.seed, self._timed = max_hops, drop, seed, timed
        self.n_nodes, n_tasks = len(cluster), len(workload)
        self.now = 0.0
        self.free_cpu, self.free_memory = cluster.cpu.tolist(), cluster.memory.tolist()
        self._all_cpu, self._all_memory = self.free_cpu[:], self.free_memory[:]
        self._least_cpu, self._least_memory = min(self._all_cpu), min(self._all_memory)
        self.speed, self.neighbours = cluster.speed.tolist(), cluster.neighbours
        self.service_s = cluster.service_s.tolist()
        self.n_running = [0] * self.n_nodes
        self.n_waiting = [0] * (self.n_nodes + 1)
        self.backlog_s = [0.0] * (self.n_nodes + 1)
        self.queues: list[list[tuple[float, int]]] = [[] for _ in range(self.n_nodes + 1)]
        self.alive = [True] * self.n_nodes
        self.cpu, self.memory = workload.cpu.tolist(), workload.memory.tolist()
        self.work_s, self.predicted_s = workload.work_s.tolist(), workload.predicted_s.tolist()
        self.kind, self.entry = workload.kind.tolist(), workload.entry.tolist()
        self.arrival_s = workload.arrival_s.tolist()
        self.hops = [0] * n_tasks
        self.decision_s: list[float] = []
        self.n_events = 0
        self.running: list[dict[int, float]] = [{} for _ in range(self.n_nodes)]
        self._key = [0.0] * n_tasks
        self._heap: list[tuple[float, int, int, int, int]] = []
        self._sequence = count()
        self._open = [len(each) for each in workload.parents] if workload.parents else []
        self._children: list[list[int]] = [[] for _ in range(n_tasks)] if workload.parents else []
        for task, parents in enumerate(workload.parents):
            for parent in parents:
                self._children[parent].append(task)
        self.log = Schedule.empty(cluster, workload, max_hops)
        self._attempt = [0] * n_tasks
        self._registered = 0
        self._last_start_s = 0.0
        self.live = Knowledge(0.0, self.n_waiting, self.backlog_s, self.n_running, self.free_cpu, self.free_memory)
        for node, at_s, back_s in failures:
            self._push(at_s, _FAIL, node)
            self._push(back_s, _RECOVER, node)
        self.hearing = Hearing(self) if self.reports.period_s else None
        scheduler.begin(self)
        self._tick_s = self.reports.period_s or scheduler.again_s
        if self._tick_s:
            self._push(0.0, _TICK)

    def heard(self, node: int, of: int) -> Knowledge:
        """What is true now, or was so when the last report was made that a node has heard of another."""
        if self.hearing is None or node == of:
            return self.live
        return self.hearing.told[self.hearing.latest[node][of]]

    def needed_s(self, task: int, node: int) -> float:
        """How long a task runs on a node, s; infinite where it cannot."""
        if self.service_s:
            return self.service_s[node][self.kind[task]]
        return self.work_s[task] / self.speed[node]

    def fits(self, task: int, node: int) -> bool:
        """Whether a node could start a task now."""
        return (
            self.cpu[task] <= self.free_cpu[node] + _TOLERANCE
            and self.memory[task] <= self.free_memory[node] + _TOLERANCE
            and (not self.service_s or self.service_s[node][self.kind[task]] < math.inf)
        )

    def able(self, task: int, node: int) -> bool:
        """Whether a node could ever run a task."""
        return (
            self.cpu[task] <= self._all_cpu[node] + _TOLERANCE
            and self.memory[task] <= self._all_memory[node] + _TOLERANCE
            and (not self.service_s or self.service_s[node][self.kind[task]] < math.inf)
        )

    def able_everywhere(self, task: int) -> bool:
        """Whether every node could run a task."""
        small = self.cpu[task] <= self._least_cpu and self.memory[task] <= self._least_memory
        return small and not self.service_s

    # The loop.

    def run(self, until_s: float = math.inf) -> Schedule:
        """Run the whole workload, once; until then, or until nothing more happens.

        Returns:
            The log; tasks without an end are the backlog.
        """
        heap, arrival_s = self._heap, self.arrival_s
        n_tasks, following = len(arrival_s), 0
        if self.workload.closed:
            following = n_tasks
            self._begin_sources()
        handlers = {
            _FINISH: self._finish,
            _RECOVER: self._recover,
            _FAIL: self._fail,
            _START: self._begin_work,
            _ARRIVE: self._arrive,
            _TICK: self._tick,
        }
        independent = not self._open
        while heap or following < n_tasks:
            if following < n_tasks and (not heap or arrival_s[following] < heap[0][0]):
                task, following = following, following + 1
                self.now = arrival_s[task]
                if self.now > until_s:
                    break
                self._registered = following
                if independent or not self._open[task]:
                    self._arrive(task, self.entry[task])
                continue
            at_s, kind, _, subject, node = heappop(heap)
            if at_s > until_s:
                break
            self.now = at_s
            if kind == _TICK and not heap and following >= n_tasks and self._all_is_said():
                break
            handlers[kind](subject, node)
        self.log.end_s = min(until_s, self.now) if math.isfinite(until_s) else self.now
        return self.log

    def _all_is_said(self) -> bool:
        """Nothing runs and nothing comes; whether what waits has also been reported in vain."""
        quiet_s = self.reports.delay_s + _VAIN_TICKS * self._tick_s
        return not any(self.n_waiting) or self.now > self._last_start_s + quiet_s

    def _push(self, at_s: float, kind: int, subject: int = 0, node: int = 0) -> None:
        heappush(self._heap, (at_s, kind, next(self._sequence), subject, node))

    def _begin_sources(self) -> None:
        """Closed loop: each source submits its first task after it has thought."""
        self._following: dict[int, list[int]] = {}
        for task, source in enumerate(self.workload.source.tolist()):
            self._following.setdefault(source, []).append(task)
        for tasks in self._following.values():
            tasks.reverse()
        for source in sorted(self._following):
            self._submit(source)

    def _submit(self, source: int) -> None:
        if tasks := self._following[source]:
            task = tasks.pop()
            self.arrival_s[task] = self.now + float(self.workload.think_s[task])
            self._push(self.arrival_s[task], _ARRIVE, task, self.entry[task])

    # Push.

    def _arrive(self, task: int, node: int) -> None:
        """A task is at a node, which keeps it or hands it on."""
        log, scheduler, hop_s = self.log, self.scheduler, self.cluster.hop_s
        began = perf_counter() if self._timed else 0.0
        if log.ready_s[task] != log.ready_s[task]:  # not so where it comes back from a failed node
            log.ready_s[task] = self.now
        while True:
            self.n_events += 1
            target = scheduler.route(task, node)
            if target == node or target == self.n_nodes:
                break
            stays = self.hops[task] >= self.max_hops and (
                self.drop or self.able(task, node) or self._lost_its_way(task)
            )
            if target < 0 or stays:
                if self.drop:
                    log.dropped[task] = True
                    scheduler.dropped(task, node)
                    self._depart(task)
                    return
                target = node
                break
            self.hops[task] += 1
            log.hand_over(task, node, target, self.now)
            scheduler.handed(task, node, target)
            if hop_s:
                self._push(self.now + hop_s, _ARRIVE, task, target)
                return
            node = target
        self._enqueue(task, target)
        if self._timed:
            self.decision_s.append(perf_counter() - began)

    def _lost_its_way(self, task: int) -> bool:
        """Nobody on its way could run it, and nobody will: the nodes that could are not connected with these."""
        return self.hops[task] >= self.max_hops + self.n_nodes

    def _enqueue(self, task: int, queue: int) -> None:
        self._key[task] = self.scheduler.key(task, queue)
        self._put_in(queue, self._key[task], task)
        for node in self.scheduler.awake(task, queue):
            if self.alive[node]:
                self.serve(node)
                if not self._waits(task, queue):
                    break

    def _waits(self, task: int, queue: int) -> bool:
        """Whether nobody has taken a task from a queue yet."""
        waiting = self.queues[queue]
        index = bisect_left(waiting, (self._key[task], task))
        return index < len(waiting) and waiting[index][1] == task

    # Pull.

    def serve(self, node: int) -> None:
        """Let a node take tasks as long as it wants any."""
        while (choice := self.scheduler.pull(node)) is not None:
            self._start(*choice, node)

    def _start(self, queue: int, index: int, node: int) -> None:
        """Take the task at an index of a queue; room is taken now, and work begins once the task has come over."""
        task = self._take_out(queue, index)
        self.free_cpu[node] -= self.cpu[task]
        self.free_memory[node] -= self.memory[task]
        self.n_running[node] += 1
        if queue not in (node, self.n_nodes):
            self.log.take_over(task, queue, node, self.now)
            if self.cluster.hop_s:
                way_s = float(self.cluster.distance[queue, node]) * self.cluster.hop_s
                self.running[node][task] = self.now + way_s + self.predicted_s[task] / self.speed[node]
                self._push(self.now + way_s, _START, task, self._tagged(task, node))
                return
        self._begin_work(task, self._tagged(task, node))

    def _put_in(self, queue: int, key: float, task: int) -> None:
        insort(self.queues[queue], (key, task))
        self.n_waiting[queue] += 1
        self.backlog_s[queue] += self.predicted_s[task]

    def _take_out(self, queue: int, index: int) -> int:
        _, task = self.queues[queue].pop(index)
        self.n_waiting[queue] -= 1
        self.backlog_s[queue] -= self.predicted_s[task]
        return task

    def _tagged(self, task: int, node: int) -> int:
        """A node with the number of the attempt to run a task there: what a failure cuts short must not end later."""
        return node + self.n_nodes * self._attempt[task]

    def _begin_work(self, task: int, tagged: int) -> None:
        attempt, node = divmod(tagged, self.n_nodes)
        if attempt != self._attempt[task]:
            return  # its node failed while it was on its way
        self.n_events += 1
        self._last_start_s = self.now
        needed_s = self.needed_s(task, node)
        self.log.begin(task, node, self.now)
        self.running[node][task] = self.now + self.predicted_s[task] / self.speed[node]
        self._push(self.now + needed_s, _FINISH, task, tagged)

    def _finish(self, task: int, tagged: int) -> None:
        attempt, node = divmod(tagged, self.n_nodes)
        if attempt != self._attempt[task]:
            return  # it was lost with its node
        self.n_events += 1
        self._release(task, node)
        self.log.end_s_of[task] = self.now
        self.scheduler.finished(task, node)
        if self._children:
            for child in self._children[task]:
                self._open[child] -= 1
                if not self._open[child] and child < self._registered:
                    self._push(self.now, _ARRIVE, child, self.entry[child])
        self._depart(task)
        self.serve(node)

    def _release(self, task: int, node: int) -> None:
        self.free_cpu[node] += self.cpu[task]
        self.free_memory[node] += self.memory[task]
        self.n_running[node] -= 1
        del self.running[node][task]

    def _depart(self, task: int) -> None:
        if self.workload.closed:
            self._submit(int(self.workload.source[task]))

    # Ticks and failures.

    def _tick(self, _: int, __: int) -> None:
        """All nodes tell how they are; with what they have heard, some look for work, or think again about a task."""
        if self.hearing is not None:
            self.n_events += 1
            self.hearing.tell()
            for node in self.scheduler.woken_by_reports():
                if self.alive[node]:
                    self.serve(node)
        if self.scheduler.again_s:
            for node in range(self.n_nodes):
                if self.n_waiting[node]:
                    self._reconsider(node)
        self._push(self.now + self._tick_s, _TICK)

    def _reconsider(self, node: int) -> None:
        """The task that waits first at a node goes to another one after all, or waits on in its place."""
        hops = self.hops[task := self._take_out(node, 0)]
        self.hops[task] = 0
        target = self.scheduler.route(task, node)
        if not 0 <= target < self.n_nodes or target == node:
            self.hops[task] = hops
            self._put_in(node, self._key[task], task)
            return
        self.hops[task] = 1
        self.log.hand_over(task, node, target, self.now, again=True)
        self.scheduler.handed(task, node, target)
        if self.cluster.hop_s:
            self._push(self.now + self.cluster.hop_s, _ARRIVE, task, target)
        else:
            self._arrive(task, target)

    def _fail(self, node: int, _: int) -> None:
        """A node's worker dies: what ran on it, or was on its way there, is placed anew from this node."""
        self.alive[node] = False
        lost = list(self.running[node])
        for task in lost:
            self._attempt[task] += 1
            self._release(task, node)
            if self.log.node[task] == node:  # else it had not begun
                self.log.lose(task, node, self.now)
        self.free_cpu[node] = self.free_memory[node] = 0.0
        for task in lost:
            self._arrive(task, node)

    def _recover(self, node: int, _: int) -> None:
        self.alive[node] = True
        self.free_cpu[node] = float(self.cluster.cpu[node])
        self.free_memory[node] = float(self.cluster.memory[node])
        self.serve(node)
