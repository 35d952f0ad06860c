"""LGTC agents in the cluster world: every node decides by `sortie_policy.cluster_policy` from what it knows."""

from __future__ import annotations

from math import exp, inf, log, log1p
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sortie_cluster.scheduler import (
    CAME,
    NO_DEALINGS,
    REFUSED,
    ROOM,
    TAKEN,
    DealingsSince,
    Scheduler,
    first_fit,
)
from sortie_policy.cluster_policy import OWN_FEATURES, PULL_FEATURES, PUSH_FEATURES, ClusterPolicy, Heard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sortie_cluster.cluster_world import ClusterWorld
    from sortie_cluster.reports import Knowledge

_TIME_SCALE_S = 10.0
_PUSH_ROW, _PULL_ROW = (np.dtype((float, len(names))) for names in (PUSH_FEATURES, PULL_FEATURES))


class Said(NamedTuple):
    """What all nodes tell in their packets: x, load, Xi as in `Heard`; V, key of the queue's head, `release`, [N]."""

    state: np.ndarray
    load: np.ndarray
    attention: np.ndarray
    price: list[float]
    head: list[float]
    release: list[float]


class Seen(NamedTuple):
    """What a report says of a node, whoever hears it and whatever it is asked for; units as in `PUSH_FEATURES`."""

    known: Knowledge
    log_load: float
    log_backlog: float
    cpu_share: float
    memory_share: float
    price: float
    release: float


class LGTCScheduler(Scheduler):
    """Every node runs the same policy.

    Args:
        policy: the parameters.
        scope: hops over which nodes hear of each other.
        tick_s: how often nodes exchange packets where reports are not late, s.
        claims: queues that a node with room asks in vain before it waits for news.
    """

    def __init__(self, policy: ClusterPolicy, scope: float = 1, tick_s: float = 1.0, claims: int = 2) -> None:
        self.policy, self.scope, self._tick_s, self._claims = policy, scope, tick_s, claims
        self.again_s = tick_s

    def begin(self, world: ClusterWorld) -> None:
        """Everybody forgets."""
        super().begin(world)
        cluster, n_nodes = world.cluster, world.n_nodes
        self._random = Random(world.seed)
        nothing = [0.0] * n_nodes
        self._silent = Said(
            np.zeros((n_nodes, self.policy.hidden)),
            np.zeros((n_nodes, len(OWN_FEATURES))),
            np.zeros((n_nodes, n_nodes)),
            nothing,
            [inf] * n_nodes,
            nothing,
        )
        self._cores, self._all_memory = cluster.cpu.tolist(), cluster.memory.tolist()
        self._log_speed = np.log(cluster.speed).tolist()
        self._rate = (cluster.speed * cluster.cpu).tolist()
        self._mean_memory, self._most_cpu = float(cluster.memory.mean()), float(cluster.cpu.max())
        self._near = [(node, *others) for node, others in enumerate(self.reach)]
        self._away = cluster.distance.tolist()
        fastest = sorted(range(n_nodes), key=lambda node: -world.speed[node])
        rank = {node: place for place, node in enumerate(fastest)}
        self._wakes = [(node, *sorted(others, key=rank.__getitem__)) for node, others in enumerate(self.reach)]
        self.state = np.zeros((n_nodes, self.policy.hidden))
        self.attention = np.zeros((n_nodes, n_nodes))
        for node, near in enumerate(self._near):
            self.attention[node, list(near)] = 1 / len(near)
        self._linked = np.array(cluster.linked)
        self.price = [0.0] * n_nodes
        self._ticked_s, self._due_s = 0.0, self._tick_s
        self._dealings = DealingsSince(world)
        self._been: set[tuple[int, int]] = set()
        self._seen: list[Seen | None] = [None] * n_nodes
        power, ageing = self.policy.parts["key"]
        self._power, self._ageing = float(power), float(ageing) / 100.0
        self._push_noise = abs(float(self.policy.parts["push_noise"][0]))
        self._pull_noise = abs(float(self.policy.parts["pull_noise"][0]))
        own = world.workload
        share = np.maximum(own.cpu / self._most_cpu, own.memory / self._mean_memory)
        self._log_share = dict(enumerate(np.log(np.maximum(share, 1e-6)).tolist()))
        self._log_predicted = dict(enumerate(np.log1p(own.predicted_s).tolist()))

    def know(self, task: int, cpu: float, memory: float, predicted_s: float) -> None:
        """A task that was not in the workload when the run began."""
        share = max(cpu / self._most_cpu, memory / self._mean_memory)
        self._log_share[task] = log(max(share, 1e-6))
        self._log_predicted[task] = log1p(predicted_s)

    # What a node knows.

    def key(self, task: int, queue: int) -> float:
        """Shortest predicted, smallest first, and with the ageing that was learned."""
        return self._size(task) + self._ageing * self.world.log.ready_s[task]

    def _size(self, task: int) -> float:
        return self._log_predicted[task] + self._power * self._log_share[task]

    def _tick(self) -> None:
        """All nodes exchange packets and advance their state."""
        world = self.world
        now, n_nodes = world.now, world.n_nodes
        running = np.array(world.n_running)
        own = np.stack(
            [
                np.array(world.free_cpu) / self._cores,
                np.array(world.free_memory) / self._all_memory,
                np.log1p(world.n_waiting[:n_nodes]),
                np.log1p(np.array(world.backlog_s[:n_nodes]) / self._rate / _TIME_SCALE_S),
                self._log_speed,
                (running == 0).astype(float),
                self.price,
                [self._release_s(node) if count else 0.0 for node, count in enumerate(world.n_running)],
            ],
            -1,
        )
        mine = Heard(self.state, own, self.attention)
        said = self._said() if self.late else mine
        self.state = self.policy.advance(mine, said, self._linked, now - self._ticked_s)
        self._load = own
        waits = own[:, 3] + np.where(own[:, 0] > 0, 0.0, own[:, 7])
        told = self._told_prices() if self.late else np.array(self.price)
        hop = exp(float(self.policy.parts["price"][0])) * 0.1
        # V_i = min(p_i, c + min_j V_j): what a task would have to wait, here or beyond
        self.price = np.minimum(waits, np.where(self._linked, told, np.inf).min(1) + hop).tolist()
        self._ticked_s, self._due_s = now, now + self._tick_s

    def _said(self) -> Heard:
        """What each node has heard of each, [N, N, ...]; [1, N, ...] where all have heard the same."""
        parts, which = self._heard_by_all()
        if len(parts) == 1:
            return Heard(parts[0].state[None], parts[0].load[None], parts[0].attention[None])
        nodes = np.arange(len(self.price))
        return Heard(
            np.stack([part.state for part in parts])[which, nodes],
            np.stack([part.load for part in parts])[which, nodes],
            np.stack([part.attention for part in parts])[which, nodes],
        )

    def _told_prices(self) -> np.ndarray:
        parts, which = self._heard_by_all()
        prices = np.array([part.price for part in parts])
        return prices[which, np.arange(len(self.price))] if len(parts) > 1 else prices

    def _heard_by_all(self) -> tuple[list[Said], np.ndarray]:
        """What is in the reports that are somebody's latest; and [N, N], in which of them each has last heard each."""
        hearing = self.world.hearing
        if hearing is None:
            raise RuntimeError("nothing is late")
        return [hearing.told[number].said or self._silent for number in hearing.distinct], hearing.which

    def _release_s(self, node: int) -> float:
        """log(1 + time until the next of its tasks should end, over a scale), by prediction."""
        running = self.world.running[node]
        if not running:
            return 0.0
        return log1p(max(0.0, min(running.values()) - self.world.now) / _TIME_SCALE_S)

    def announce(self) -> Said:
        """State, load, attention, price, head of the queue and next release of all nodes."""
        self._tick()
        return Said(
            self.state,
            self._load,
            self.attention.copy(),
            self.price,
            [queue[0][0] if queue else inf for queue in self.world.queues[:-1]],
            [self._release_s(node) for node in range(self.world.n_nodes)],
        )

    # Push.

    def route(self, task: int, node: int) -> int:
        """The node, of itself and those it hears, that scores best for a task."""
        world = self.world
        if not self.late and world.now >= self._due_s:
            self._tick()
        near = self.candidates(task, node)
        if len(near) == 1:
            return near[0]
        rows, states = self._push_rows(task, node, near), self._states(node, near)
        scores = self.policy.scores("push", rows, self.state[node], states)
        if self._push_noise:
            scores = scores + self._push_noise * self._gumbel(len(near))
        return near[int(scores.argmax())]

    def _states(self, node: int, near: list[int]) -> np.ndarray:
        """[M, F] x of nodes as one of them knows them."""
        if not self.late:
            return self.state[near]
        heard = self.world.heard
        return np.array([self.state[j] if j == node else (heard(node, j).said or self._silent).state[j] for j in near])

    def _push_rows(self, task: int, node: int, near: list[int]) -> np.ndarray:
        """[M, Fp] `PUSH_FEATURES` of the candidates for a task."""
        world = self.world
        task_cpu, task_memory = world.cpu[task] - ROOM, world.memory[task] - ROOM
        size, share, hops = 0.25 * self._log_predicted[task], self._log_share[task], world.hops[task] / 6.0
        rates, cores, memories, log_speeds = self._rate, self._cores, self._all_memory, self._log_speed
        now, late, heard, total, been = world.now, self.late, world.heard, self._dealings.total, self._been
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
                price, release = self.price[j], self._release_s(j)
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

    def _seen_of(self, known: Knowledge, j: int) -> Seen:
        seen = self._seen[j]
        if seen is None or seen.known is not known:
            rate, said = self._rate[j], known.said or self._silent
            seen = self._seen[j] = Seen(
                known,
                log((known.n_waiting[j] + known.n_running[j] + 1) / rate),
                log1p(known.backlog_s[j] / rate / _TIME_SCALE_S),
                known.free_cpu[j] / self._cores[j],
                known.free_memory[j] / self._all_memory[j],
                said.price[j],
                said.release[j],
            )
        return seen

    def handed(self, task: int, node: int, target: int) -> None:
        """Both nodes remember it until they hear from each other."""
        self.hand(task, node, target)
        if self.late:
            self._dealings.add(target, node, CAME)

    def hand(self, task: int, node: int, target: int) -> None:
        """The node remembers what it hands over; the task carries along where it has been."""
        self._been.add((task, node))
        if self.late:
            self._dealings.send(task, node, target)

    def finished(self, task: int, node: int) -> None:
        """Forget where it has been."""
        self._been -= {(task, each) for each in range(self.world.n_nodes)} & self._been

    # Pull.

    def awake(self, task: int, queue: int) -> Iterable[int]:
        """The queue's own node, and those that know at once that a task has begun to wait."""
        return (queue,) if self.late else self._wakes[queue]

    def woken_by_reports(self) -> Iterable[int]:
        """Who has room."""
        free = self.world.free_cpu
        return [node for node in range(self.world.n_nodes) if free[node] > ROOM]

    def pull(self, node: int) -> tuple[int, int] | None:
        """The best-scored queue that has a task which fits."""
        world = self.world
        if world.free_cpu[node] <= ROOM or world.free_memory[node] <= ROOM:
            return None
        mine = first_fit(world, node, node)
        choices: list[tuple[int, tuple[int, int] | None, float]] = []
        if mine:
            choices.append((node, mine, world.queues[node][mine[1]][0]))
        queues = world.queues
        if not mine and not self._others_have_any(node):
            return None  # whoever is asked refuses
        if self.late:
            for j in self.reach[node]:
                choices.append((j, None, (world.heard(node, j).said or self._silent).head[j]))
        else:
            for j in self.reach[node]:
                if queues[j] and (found := first_fit(world, j, node)):
                    choices.append((j, found, queues[j][found[1]][0]))
        if not choices or (len(choices) == 1 and mine):
            return mine
        rows = np.fromiter((self._pull_row(node, *choice) for choice in choices), _PULL_ROW, len(choices))
        scores = self.policy.scores("pull", rows, self.state[node], self._states(node, [j for j, _, _ in choices]))
        if self._pull_noise:
            scores = scores + self._pull_noise * self._gumbel(len(choices))
        self._attend(node, choices, scores)
        if not self.late:
            return choices[int(scores.argmax())][1]
        refused = 0
        for index in np.argsort(-scores):
            j, found, _ = choices[index]
            found = found or self._ask(j, node)
            if found:
                return found
            refused += 1
            if refused >= self._claims and not mine:
                return None
        return mine

    def _others_have_any(self, node: int) -> bool:
        """Whether any task waits within reach."""
        return any(self.world.queues[j] for j in self.reach[node])

    def _ask(self, queue: int, node: int) -> tuple[int, int] | None:
        """What a node may take from another's queue of which it knows by reports alone."""
        found = first_fit(self.world, queue, node)
        self._dealings.add(node, queue, TAKEN if found else REFUSED)
        return found

    def _attend(self, node: int, choices: list[Any], scores: np.ndarray) -> None:
        weight = np.exp(np.minimum(scores - scores.max(), 0.0))
        row = self.attention[node]
        row[:] = 0.0
        for (j, _, _), each in zip(choices, (weight / weight.sum()).tolist(), strict=True):
            row[j] = each

    def _pull_row(self, node: int, j: int, found: tuple[int, int] | None, key: float) -> tuple[float, ...]:
        world = self.world
        own = j == node
        known = world.heard(node, j)
        age, price, dealings = 0.0, self.price[j], NO_DEALINGS
        if self.late and not own:
            age = log1p((world.now - known.at_s) / _TIME_SCALE_S)
            price = (known.said or self._silent).price[j]
            dealings = self._dealings.total(node, j, known.at_s)
        size = 8.0 if key == inf else key - self._ageing * world.now
        task = world.queues[j][found[1]][1] if found else -1
        return (
            size,
            float(own),
            float(self._away[node][j]),
            log1p(known.n_waiting[j]),
            log1p(known.backlog_s[j] / self._rate[j] / _TIME_SCALE_S),
            self._log_speed[j],
            self._log_speed[node],
            age,
            world.free_cpu[node] / self._cores[node],
            self._log_share[task] if task >= 0 else 0.0,
            price,
            age * size,
            log1p(dealings.came),
            log1p(dealings.taken),
            log1p(dealings.refused),
        )

    def _gumbel(self, size: int) -> np.ndarray:
        draw = self._random.random
        return np.array([-log(-log(draw() + 1e-12)) for _ in range(size)])
