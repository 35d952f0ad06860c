"""The LGTC policy of one node of a cluster, as an agent of the graph.

It is `lgtc_scheduler` seen from one node: the same code decides, over a world of which only what the node itself knows
is filled in, and what its neighbours have told in their beacons. A tick is one radio round. At its beginning the node
advances its state by what it heard on the last tick, and tells

    =============================== ======
    payload                         floats
    =============================== ======
    LGTC state x                    F
    load (`OWN_FEATURES`)           8
    attention Xi over queues        N
    price, key of its queue's head,
    release, waiting, backlog,
    running, free CPU, free memory  8
    =============================== ======

and at its end, with what it has heard, decides where its new tasks go and from which queues it takes others.
"""

from __future__ import annotations

from bisect import insort
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_cluster.reports import Knowledge, Reports
from sortie_cluster.scheduler import CAME, REFUSED, TAKEN
from sortie_cluster.workload import Workload
from sortie_core.packets import Decision, HandOver, Packet
from sortie_policy.cluster_checkpoint import load_cluster_policy
from sortie_policy.cluster_features import Said
from sortie_policy.cluster_policy import OWN_FEATURES
from sortie_policy.lgtc_scheduler import LGTCScheduler

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from sortie_cluster.cluster import Cluster
    from sortie_cluster.config import Agents
    from sortie_cluster.live_config import LiveConfig
    from sortie_core.packets import LocalView, QueuedTask
    from sortie_policy.cluster_policy import ClusterPolicy

_MOST_ASKS = 16
_AFTER_S = 1e-6
"""Decisions come after the reports of the same tick, which hence do not know of them."""
_TOLD = 8
"""Floats after state, load and attention."""


class Log(NamedTuple):
    """What there is of `sortie_cluster.schedule.Schedule`: when tasks could first be scheduled, s, by number."""

    ready_s: dict[int, float]


class HeardOf:
    """What there is of `sortie_cluster.reports.Hearing`: report j is the last one of node j, whoever asks."""

    def __init__(self, world: NodeWorld) -> None:
        """Everybody knows of empty queues."""
        n_nodes = world.n_nodes
        self.told = {node: _report(world.cluster, -1.0) for node in range(n_nodes)}
        self.latest = [list(range(n_nodes)) for _ in range(n_nodes)]
        self.distinct, self.which = list(range(n_nodes)), np.array(self.latest)


def _report(cluster: Cluster, at_s: float) -> Knowledge:
    n_nodes = len(cluster)
    free = cluster.cpu.tolist(), cluster.memory.tolist()
    return Knowledge(max(at_s, 0.0), [0] * (n_nodes + 1), [0.0] * (n_nodes + 1), [0] * n_nodes, *free)


class NodeWorld:
    """What a scheduler reads of a `ClusterWorld`, as far as one node knows it; attributes as there.

    Only the node's own entries are kept in what is `live`; demands are rounded as stocks are on their way here.
    """

    def __init__(self, cluster: Cluster, reports: Reports, seed: int) -> None:
        """Empty queues, nothing runs."""
        self.cluster, self.reports, self.seed = cluster, reports, seed
        self.n_nodes = n_nodes = len(cluster)
        nothing = np.zeros(0)
        numbers = np.zeros(0, np.int64)
        self.workload = Workload(nothing, nothing, nothing, nothing, numbers, nothing, numbers, numbers)
        self.now = 0.0
        self.speed = cluster.speed.tolist()
        self.free_cpu, self.free_memory = cluster.cpu.tolist(), cluster.memory.tolist()
        self.n_running, self.n_waiting = [0] * n_nodes, [0] * (n_nodes + 1)
        self.backlog_s = [0.0] * (n_nodes + 1)
        self.running: list[dict[int, float]] = [{} for _ in range(n_nodes)]
        self.queues: list[list[tuple[float, int]]] = [[] for _ in range(n_nodes + 1)]
        self.service_s: list[list[float]] = []
        self.cpu: dict[int, float] = {}
        self.memory: dict[int, float] = {}
        self.predicted_s: dict[int, float] = {}
        self.hops: dict[int, int] = {}
        self.log = Log({})
        self.live = Knowledge(0.0, self.n_waiting, self.backlog_s, self.n_running, self.free_cpu, self.free_memory)
        self.hearing = HeardOf(self)

    def heard(self, node: int, of: int) -> Knowledge:
        """What a node knows of another one."""
        return self.live if node == of else self.hearing.told[self.hearing.latest[node][of]]

    def able(self, task: int, node: int) -> bool:
        """Whether a node could ever run a task."""
        most_cpu, most_memory = np.float32(self.cluster.cpu[node]), np.float32(self.cluster.memory[node])
        return bool(self.cpu[task] <= most_cpu and self.memory[task] <= most_memory)

    def able_everywhere(self, task: int) -> bool:
        """Whether every node could run a task."""
        return all(self.able(task, node) for node in range(self.n_nodes))

    def see(self, node: int, stock: Sequence[float], running_s: Iterable[float], tasks: Iterable[QueuedTask]) -> None:
        """Take in how a node is: what is free, what runs, and which tasks wait in its queue."""
        self.free_cpu[node], self.free_memory[node] = map(float, stock)
        self.running[node] = {place: self.now + each for place, each in enumerate(running_s)}
        self.n_running[node] = len(self.running[node])
        self.queues[node], self.n_waiting[node], self.backlog_s[node] = [], 0, 0.0
        for task in tasks:
            self.cpu[task.number], self.memory[task.number] = (float(np.float32(each)) for each in task.demand)
            self.predicted_s[task.number], self.hops[task.number] = task.predicted_s, task.hops
            self.log.ready_s[task.number] = self.now - task.waited_s
            if task.placed:
                self.wait(node, task.key, task.number)

    def forget(self, tasks: Iterable[int]) -> None:
        """These are elsewhere, or have ended."""
        for task in tasks:
            for known in (self.cpu, self.memory, self.predicted_s, self.hops, self.log.ready_s):
                del known[task]

    def wait(self, node: int, key: float, task: int) -> None:
        """A task is placed in a node's queue."""
        insort(self.queues[node], (key, task))
        self.n_waiting[node] += 1
        self.backlog_s[node] += self.predicted_s[task]

    def take_out(self, node: int, index: int) -> int:
        """A task leaves a node's queue."""
        _, task = self.queues[node].pop(index)
        self.n_waiting[node] -= 1
        self.backlog_s[node] -= self.predicted_s[task]
        return task

    def start(self, node: int, index: int) -> None:
        """A node takes a task from its own queue."""
        task = self.take_out(node, index)
        self.free_cpu[node] -= self.cpu[task]
        self.free_memory[node] -= self.memory[task]
        self.n_running[node] += 1


class NodeScheduler(LGTCScheduler):
    """The agents' scheduler where others' queues are out of sight: what it asks of them is written down.

    Args:
        policy: the parameters.
        agents: the configuration's section.
    """

    def __init__(self, policy: ClusterPolicy, agents: Agents) -> None:
        """It begins with a world, as every scheduler does."""
        super().__init__(policy, agents.hops, agents.tick_s, agents.claims)
        self._most_hops = agents.max_hops
        self._asked: list[int] = []

    def know_all(self, node: int, tasks: Iterable[QueuedTask], before: Container[int]) -> None:
        """Learn of the tasks at a node, which had some of them on the last tick."""
        for task in tasks:
            cpu, memory = (float(np.float32(each)) for each in task.demand)
            self.features.know(task.number, cpu, memory, task.predicted_s)
            self.features.been.update((task.number, each) for each in task.been)
            if task.been and not task.placed and task.number not in before:
                self.features.dealings.add(node, task.been[-1], CAME)

    def learn(self, node: int, asks: Iterable[int], taken_from: Sequence[int]) -> None:
        """Learn what became of the last asks of a node: those it got nothing for, before others, were in vain."""
        others = iter([each for each in asks if each != node])
        for queue in taken_from:
            self.features.dealings.add(node, queue, TAKEN)
            for each in others:
                if each == queue:
                    break
                self.features.dealings.add(node, each, REFUSED)
        for each in others if not taken_from else ():
            self.features.dealings.add(node, each, REFUSED)

    def forget(self, tasks: Iterable[int]) -> None:
        """These are elsewhere, or have ended."""
        self.features.forget(set(tasks))

    def place(self, node: int, tasks: Iterable[QueuedTask]) -> list[HandOver]:
        """Where the new tasks of a node go."""
        world: NodeWorld = self.world  # type: ignore[assignment]
        found = []
        for task in (each.number for each in tasks if not each.placed):
            target = self.route(task, node)
            if target == node or (world.hops[task] >= self._most_hops and world.able(task, node)):
                key = self.key(task, node)
                world.wait(node, key, task)
                found.append(HandOver(task, node, key))
            else:
                self.hand(task, node, target)
                found.append(HandOver(task, target, 0.0))
        return found

    def asks(self, node: int) -> list[int]:
        """Queues that a node takes tasks from, in turn."""
        world: NodeWorld = self.world  # type: ignore[assignment]
        found: list[int] = []
        while len(found) < _MOST_ASKS:
            self._asked = []
            own = self.pull(node)
            found += self._asked
            if own is None:
                break
            found.append(node)
            world.start(node, own[1])
        return found[:_MOST_ASKS]

    def hand_on(self, node: int) -> list[HandOver]:
        """Where the first of the tasks that still wait goes after all, if anywhere."""
        world: NodeWorld = self.world  # type: ignore[assignment]
        if not self.again_s or not world.queues[node]:
            return []
        key = world.queues[node][0][0]
        task = world.take_out(node, 0)
        hops, world.hops[task] = world.hops[task], 0
        target = self.route(task, node)
        if target == node:
            world.hops[task] = hops
            world.wait(node, key, task)
            return []
        self.hand(task, node, target)
        return [HandOver(task, target, 0.0)]

    def _others_have_any(self, node: int) -> bool:
        return any(self.features.told(node, j).head[j] < inf for j in self.reach[node])

    def _ask(self, queue: int, node: int) -> tuple[int, int] | None:
        self._asked.append(queue)
        return None


class ClusterRuntime:
    """The policy of one node; the interface of `runtime.AgentRuntime`.

    Args:
        policy: the parameters.
        config: the run's configuration.
        index: this node's number, the sender of its packets.

    Attributes:
        decision: of the last tick; None before the first.
    """

    def __init__(self, policy: ClusterPolicy, config: LiveConfig, index: int) -> None:
        """Begin without memory."""
        self.index = index
        self.decision: Decision | None = None
        self._policy, self._tick_s = policy, config.agents.tick_s
        self._world = NodeWorld(config.nodes, config.heard, config.seed * 10007 + index)
        self._scheduler = NodeScheduler(policy, config.agents)
        world: object = self._world
        self._scheduler.begin(world)  # type: ignore[arg-type]
        self._heard_tick: dict[int, int] = {}
        self._tick: int | None = None
        self._tasks: tuple[QueuedTask, ...] = ()

    @classmethod
    def from_checkpoint(cls, config: LiveConfig, index: int) -> ClusterRuntime:
        """The runtime of `agents.checkpoint`.

        Raises:
            UserError: the checkpoint is missing, broken, or of a drone.
        """
        return cls(load_cluster_policy(config.agents.checkpoint), config, index)

    @property
    def contraction_rate(self) -> float:
        """The policy's c, 1/s of the trace."""
        return self._policy.contraction_rate

    @property
    def state(self) -> np.ndarray:
        """[F] the cell's state x."""
        return self._scheduler.state[self.index]

    def start_tick(self, view: LocalView) -> Packet:
        """Begin a tick with what the node knows by itself; returns the beacon to broadcast."""
        world, scheduler, index = self._world, self._scheduler, self.index
        world.now, self._tick = view.tick * self._tick_s, view.tick
        queues = view.consumers.tasks
        self._tasks = queues[index] if index < len(queues) else ()
        before, now = world.predicted_s.keys(), {task.number for task in self._tasks}
        scheduler.know_all(index, self._tasks, before)
        gone = before - now
        scheduler.forget(gone)
        world.forget(gone)
        if self.decision:
            scheduler.learn(index, self.decision.asks, view.taken_from)
        world.see(index, view.stock.tolist(), view.running_s, self._tasks)
        said = scheduler.announce()
        told = (
            said.price[index], said.head[index], said.release[index], world.n_waiting[index],
            world.backlog_s[index], world.n_running[index], world.free_cpu[index], world.free_memory[index],
        )  # fmt: skip
        payload = np.concatenate([said.state[index], said.load[index], said.attention[index], told])
        return Packet(index, view.tick, 0, payload.astype(np.float32))

    def finish_round(self, packets: Sequence[Packet]) -> None:
        """Close the tick with the beacons that were heard.

        Args:
            packets: from neighbours, in any order; of two of one sender the younger one counts.

        Raises:
            RuntimeError: no tick was begun.
        """
        if self._tick is None:
            raise RuntimeError("finish_round before start_tick, or after the tick was over")
        for packet in sorted(packets, key=lambda each: (each.sender, each.tick)):
            if packet.sender != self.index and packet.tick >= self._heard_tick.get(packet.sender, 0):
                self._heard_tick[packet.sender] = packet.tick
                self._hear(packet)
        self._world.now += _AFTER_S
        hand_overs = self._scheduler.place(self.index, self._tasks)
        asks = self._scheduler.asks(self.index)
        hand_overs += self._scheduler.hand_on(self.index)
        n_nodes, attention = self._world.n_nodes, self._scheduler.attention[self.index]
        self.decision = Decision(
            np.zeros(2, np.float32),
            asks[0] if asks else n_nodes,
            np.append(attention, 0.0) if asks else np.eye(n_nodes + 1)[n_nodes],
            tuple(asks),
            tuple(hand_overs),
        )
        self._tick = None

    def _hear(self, packet: Packet) -> None:
        sender, n_nodes, hidden = packet.sender, self._world.n_nodes, self._policy.hidden
        loaded = hidden + len(OWN_FEATURES)
        payload = packet.payload.astype(np.float64)
        if len(payload) != loaded + n_nodes + _TOLD:
            return  # of another policy
        said = Said(
            np.zeros((n_nodes, hidden)), np.zeros((n_nodes, len(OWN_FEATURES))), np.zeros((n_nodes, n_nodes)),
            [0.0] * n_nodes, [inf] * n_nodes, [0.0] * n_nodes,
        )  # fmt: skip
        said.state[sender], said.load[sender] = payload[:hidden], payload[hidden:loaded]
        said.attention[sender] = payload[loaded : loaded + n_nodes]
        price, head, release, waiting, backlog_s, running, cpu, memory = payload[loaded + n_nodes :].tolist()
        said.price[sender], said.head[sender], said.release[sender] = price, head, release
        known = _report(self._world.cluster, packet.tick * self._tick_s)
        known.n_waiting[sender], known.n_running[sender] = round(waiting), round(running)
        known.backlog_s[sender] = backlog_s
        known.free_cpu[sender], known.free_memory[sender], known.said = cpu, memory, said
        self._world.hearing.told[sender] = known
