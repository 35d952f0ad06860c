"""What a cluster's nodes know, as the features that `cluster_policy` scores: their own, reports, and their dealings.

Of all nodes at once, since one process runs them in the cluster world; each is asked for what itself may know.
"""

from __future__ import annotations

from math import inf, log, log1p
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_cluster.scheduler import NO_DEALINGS, ROOM, DealingsSince
from sortie_policy.cluster_policy import OWN_FEATURES, PULL_FEATURES, PUSH_FEATURES, Heard

if TYPE_CHECKING:
    from sortie_cluster.cluster_world import ClusterWorld
    from sortie_cluster.reports import Knowledge

_TIME_SCALE_S = 10.0
_LOG_KEY_OF_NONE = 8.0
"""Of a queue of which no task is known."""
_PUSH_ROW, _PULL_ROW = (np.dtype((float, len(names))) for names in (PUSH_FEATURES, PULL_FEATURES))


class Said(NamedTuple):
    """What all nodes tell in their packets: x, load, Xi as in `Heard`; V, key of the queue's head, `release`, [N]."""

    state: np.ndarray
    load: np.ndarray
    attention: np.ndarray
    price: list[float]
    head: list[float]
    release: list[float]


class _Seen(NamedTuple):
    """What a report says of a node, whoever hears it and whatever it is asked for; units as in `PUSH_FEATURES`."""

    known: Knowledge
    log_load: float
    log_backlog: float
    cpu_share: float
    memory_share: float
    price: float
    release: float


class ClusterFeatures:
    """The features of a run.

    Args:
        world: the run.
        hidden: F, features of the LGTC state.
        ageing: how much a task's place in the order of queues depends on when it came, 1/s.

    Attributes:
        dealings: of each node with each other.
        been: (task, node) for where a task has been.
        price: [N] V, see `LGTCScheduler`, which keeps it.
        log_predicted: log(1 + predicted s) of each task.
        log_share: log of the dominant share of each task.
    """

    def __init__(self, world: ClusterWorld, hidden: int, ageing: float) -> None:
        self.world, self._late, self._ageing = world, world.reports.period_s > 0, ageing
        cluster, n_nodes = world.cluster, world.n_nodes
        self.dealings = DealingsSince(world)
        self.been: set[tuple[int, int]] = set()
        self.price = [0.0] * n_nodes
        self._cores, self._all_memory = cluster.cpu.tolist(), cluster.memory.tolist()
        self._log_speed = np.log(cluster.speed).tolist()
        self._rate = (cluster.speed * cluster.cpu).tolist()
        self._mean_memory, self._most_cpu = float(cluster.memory.mean()), float(cluster.cpu.max())
        self._away = cluster.distance.tolist()
        own = world.workload
        share = np.maximum(own.cpu / self._most_cpu, own.memory / self._mean_memory)
        self.log_share = dict(enumerate(np.log(np.maximum(share, 1e-6)).tolist()))
        self.log_predicted = dict(enumerate(np.log1p(own.predicted_s).tolist()))
        self._seen: list[_Seen | None] = [None] * n_nodes
        nothing = [0.0] * n_nodes
        self._silent = Said(
            np.zeros((n_nodes, hidden)),
            np.zeros((n_nodes, len(OWN_FEATURES))),
            np.zeros((n_nodes, n_nodes)),
            nothing,
            [inf] * n_nodes,
            nothing,
        )

    def know(self, task: int, cpu: float, memory: float, predicted_s: float) -> None:
        """A task that was not in the workload when the run began."""
        share = max(cpu / self._most_cpu, memory / self._mean_memory)
        self.log_share[task] = log(max(share, 1e-6))
        self.log_predicted[task] = log1p(predicted_s)

    def forget(self, tasks: set[int]) -> None:
        """Tasks that will not be asked for any more, of those that were made known."""
        for task in tasks:
            del self.log_share[task], self.log_predicted[task]
        self.been = {each for each in self.been if each[0] not in tasks}

    # Nodes.

    def own(self) -> np.ndarray:
        """[N, Fo] `OWN_FEATURES`, now."""
        world, n_nodes = self.world, self.world.n_nodes
        return np.stack(
            [
                np.array(world.free_cpu) / self._cores,
                np.array(world.free_memory) / self._all_memory,
                np.log1p(world.n_waiting[:n_nodes]),
                np.log1p(np.array(world.backlog_s[:n_nodes]) / self._rate / _TIME_SCALE_S),
                self._log_speed,
                (np.array(world.n_running) == 0).astype(float),
                self.price,
                self.releases(),
            ],
            -1,
        )

    def releases(self) -> list[float]:
        """[N] log(1 + time until the next of a node's tasks should end, over a scale), by prediction."""
        return [self._release(node) for node in range(self.world.n_nodes)]

    def _release(self, node: int) -> float:
        running = self.world.running[node]
        if not running:
            return 0.0
        return log1p(max(0.0, min(running.values()) - self.world.now) / _TIME_SCALE_S)

    def told(self, node: int, other: int) -> Said:
        """The last packet that a node has heard of another one; of silence, where none has come."""
        return self.world.heard(node, other).said or self._silent

    def told_to_all(self) -> tuple[Heard, np.ndarray]:
        """What each node has heard of each, [N, N, ...], or [1, N, ...] where all have heard the same; and the V."""
        hearing = self.world.hearing
        if hearing is None:
            raise RuntimeError("nothing is late")
        parts, which = [hearing.told[number].said or self._silent for number in hearing.distinct], hearing.which
        prices = np.array([part.price for part in parts])
        if len(parts) == 1:
            return Heard(parts[0].state[None], parts[0].load[None], parts[0].attention[None]), prices
        nodes = np.arange(len(self.price))
        heard = Heard(
            np.stack([part.state for part in parts])[which, nodes],
            np.stack([part.load for part in parts])[which, nodes],
            np.stack([part.attention for part in parts])[which, nodes],
        )
        return heard, prices[which, nodes]

    # Pairs.

    def push(self, task: int, node: int, near: list[int]) -> np.ndarray:
        """[M, Fp] `PUSH_FEATURES` of the candidates for a task."""
        world = self.world
        task_cpu, task_memory = world.cpu[task] - ROOM, world.memory[task] - ROOM
        size, share, hops = 0.25 * self.log_predicted[task], self.log_share[task], world.hops[task] / 6.0
        rates, cores, memories, log_speeds = self._rate, self._cores, self._all_memory, self._log_speed
        now, late, heard, total, been = world.now, self._late, world.heard, self.dealings.total, self.been
        rows = []
        for j in near:
            own, known, log_speed = j == node, heard(node, j), log_speeds[j]
            free_cpu, free_memory, waiting = known.free_cpu[j], known.free_memory[j], known.n_waiting[j]
            sent_work = 0.0
            if not late or own:
                rate, age, dealings = rates[j], 0.0, NO_DEALINGS
                log_load = log((waiting + known.n_running[j] + 1) / rate)
                log_backlog = log1p(known.backlog_s[j] / rate / _TIME_SCALE_S)
                cpu_share, memory_share = free_cpu / cores[j], free_memory / memories[j]
                price, release = self.price[j], self._release(j)
            else:
                _, log_load, log_backlog, cpu_share, memory_share, price, release = self._seen_of(known, j)
                age = log1p((now - known.at_s) / _TIME_SCALE_S)
                dealings = total(node, j, known.at_s)
                if dealings.sent:
                    rate = rates[j]
                    free_cpu, free_memory = free_cpu - dealings.cpu, free_memory - dealings.memory
                    log_load = log((waiting + known.n_running[j] + dealings.sent + 1) / rate)
                    log_backlog = log1p((known.backlog_s[j] + dealings.work_s) / rate / _TIME_SCALE_S)
                    cpu_share, memory_share = free_cpu / cores[j], free_memory / memories[j]
                    sent_work = log1p(dealings.work_s / rate / _TIME_SCALE_S)
            fits = not waiting and free_cpu >= task_cpu and free_memory >= task_memory
            rows.append(
                (
                    1.0 if fits else 0.0,
                    log_speed if fits else 0.0,
                    0.0 if fits else log_load,
                    log_speed,
                    log_load,
                    log_backlog,
                    cpu_share,
                    memory_share,
                    1.0 if own else 0.0,
                    age,
                    log1p(dealings.sent),
                    sent_work,
                    size,
                    share,
                    hops,
                    price,
                    release,
                    1.0 if own and fits else 0.0,
                    age if fits else 0.0,
                    1.0 if (task, j) in been else 0.0,
                    age * log_load,
                    log1p(dealings.came),
                    log1p(dealings.taken),
                    log1p(dealings.refused),
                )
            )
        return np.fromiter(rows, _PUSH_ROW, len(rows))

    def _seen_of(self, known: Knowledge, j: int) -> _Seen:
        seen = self._seen[j]
        if seen is None or seen.known is not known:
            rate, said = self._rate[j], known.said or self._silent
            seen = self._seen[j] = _Seen(
                known,
                log((known.n_waiting[j] + known.n_running[j] + 1) / rate),
                log1p(known.backlog_s[j] / rate / _TIME_SCALE_S),
                known.free_cpu[j] / self._cores[j],
                known.free_memory[j] / self._all_memory[j],
                said.price[j],
                said.release[j],
            )
        return seen

    def pull(self, node: int, choices: list[tuple[int, tuple[int, int] | None, float]]) -> np.ndarray:
        """[M, Fp] `PULL_FEATURES` of queues: whose, where its first task that fits is if that is known, the key."""
        return np.fromiter((self._pull_row(node, *choice) for choice in choices), _PULL_ROW, len(choices))

    def _pull_row(self, node: int, j: int, found: tuple[int, int] | None, key: float) -> tuple[float, ...]:
        world = self.world
        own = j == node
        known = world.heard(node, j)
        age, price, dealings = 0.0, self.price[j], NO_DEALINGS
        if self._late and not own:
            age = log1p((world.now - known.at_s) / _TIME_SCALE_S)
            price = (known.said or self._silent).price[j]
            dealings = self.dealings.total(node, j, known.at_s)
        log_key = _LOG_KEY_OF_NONE if key == inf else key - self._ageing * world.now
        task = world.queues[j][found[1]][1] if found else -1
        return (
            log_key,
            float(own),
            float(self._away[node][j]),
            log1p(known.n_waiting[j]),
            log1p(known.backlog_s[j] / self._rate[j] / _TIME_SCALE_S),
            self._log_speed[j],
            self._log_speed[node],
            age,
            world.free_cpu[node] / self._cores[node],
            self.log_share[task] if task >= 0 else 0.0,
            price,
            age * log_key,
            log1p(dealings.came),
            log1p(dealings.taken),
            log1p(dealings.refused),
        )
