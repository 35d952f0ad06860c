"""Hand-made schedulers, each by a recipe (`recipes`): how tasks are placed and taken, and in which order they wait."""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from sortie_cluster.recipes import AGAIN_S, Recipe, recipe
from sortie_cluster.scheduler import ROOM, DealingsSince, Scheduler, first_fit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sortie_cluster.cluster_world import ClusterWorld

WEIGHT_POWER = 0.3
"""Power of the dominant share in weighted keys (this project's design)."""
CLAIMS = 2
"""Queues that a node asks in vain, one after the other, where reports are late."""
_TETRIS_SHORTNESS = 1.0
"""Weight of shortness against alignment; Tetris (SIGCOMM 2014) makes both count alike."""


class Rule(Scheduler):
    """A scheduler made by a recipe."""

    def __init__(self, made_of: Recipe) -> None:
        self.recipe, self.scope = made_of, made_of.scope
        self.again_s = AGAIN_S if made_of.again else 0.0
        self.route = getattr(self, f"_place_{made_of.place}")  # type: ignore[method-assign]
        self.key = getattr(self, f"_by_{made_of.order}")  # type: ignore[method-assign]

    def begin(self, world: ClusterWorld) -> None:
        """Forget the last run."""
        super().begin(world)
        cluster, self._take = world.cluster, self.recipe.take
        self._central = world.n_nodes
        self._random, self._turn = Random(world.seed), -1
        self._cores, self._all_memory = cluster.cpu.tolist(), cluster.memory.tolist()
        self._rate = (cluster.speed * cluster.cpu).tolist()
        self._fastest = sorted(range(world.n_nodes), key=lambda node: -world.speed[node])
        rank = {node: place for place, node in enumerate(self._fastest)}
        # tasks are placed as far as the scope reaches, but taken from neighbours only
        self._others = world.neighbours
        self._wakes = [(node, *sorted(others, key=rank.__getitem__)) for node, others in enumerate(self._others)]
        self._dealings = DealingsSince(world)
        share = dominant_share(world)
        self._weight = (share**WEIGHT_POWER).tolist()
        self._total_cpu, self._total_memory = float(cluster.cpu.sum()), float(cluster.memory.sum())
        self._held: dict[int, tuple[float, float]] = {}
        self._least_cpu = float(world.workload.cpu.min()) if len(world.workload) else 0.0

    # Order of queues.

    def _by_fifo(self, task: int, queue: int) -> float:
        return self.world.now

    _by_drf = _by_tetris = _by_fifo

    def _by_sjf(self, task: int, queue: int) -> float:
        return self.world.predicted_s[task]

    def _by_wsjf(self, task: int, queue: int) -> float:
        return self.world.predicted_s[task] * self._weight[task]

    def _by_clairvoyant(self, task: int, queue: int) -> float:
        return self.world.work_s[task] * self._weight[task]

    # Push.

    def _place_stay(self, task: int, node: int) -> int:
        return node

    def _place_central(self, task: int, node: int) -> int:
        return self._central

    def _place_random(self, task: int, node: int) -> int:
        return node if self.world.hops[task] else self._random.choice(self.candidates(task, node))

    def _place_round_robin(self, task: int, node: int) -> int:
        world = self.world
        if world.hops[task]:
            return node
        for _ in range(world.n_nodes):
            self._turn = (self._turn + 1) % world.n_nodes
            if world.able(task, self._turn):
                break
        return self._turn

    def _load(self, node: int, other: int) -> int:
        """Tasks that a node thinks another one has."""
        known = self.world.heard(node, other)
        load = known.n_waiting[other] + known.n_running[other]
        if self.late and self.recipe.counts and other != node:
            load += self._dealings.total(node, other, known.at_s).sent
        return load

    def _place_jsq(self, task: int, node: int) -> int:
        if self.scope == inf and self.world.hops[task]:
            return node
        return min(self.candidates(task, node), key=lambda other: (self._load(node, other) + 1) / self._cores[other])

    def _place_expected_completion(self, task: int, node: int) -> int:
        world = self.world
        if self.scope == inf and world.hops[task]:
            return node

        def expected_s(other: int) -> float:
            known = world.heard(node, other)
            work_s = known.backlog_s[other]
            if self.late and self.recipe.counts and other != node:
                work_s += self._dealings.total(node, other, known.at_s).work_s
            running = 0.0 if known.free_cpu[other] + ROOM >= world.cpu[task] else self._mean_s
            return (work_s + running) / self._rate[other] + world.predicted_s[task] / world.speed[other]

        return min(self.candidates(task, node), key=expected_s)

    @property
    def _mean_s(self) -> float:
        """What a task that runs is thought to take still: half of an average one."""
        return 0.5 * float(self.world.workload.predicted_s.mean())

    def _place_best_fit(self, task: int, node: int) -> int:
        """The node with room that is left the least of it; the central queue where none has."""
        world = self.world
        if world.hops[task]:
            return node
        room = [other for other in range(world.n_nodes) if world.fits(task, other)]
        if not room:
            return self._central
        return min(
            room,
            key=lambda other: (
                (world.free_cpu[other] - world.cpu[task]) / self._cores[other]
                + (world.free_memory[other] - world.memory[task]) / self._all_memory[other]
            ),
        )

    def _place_rec(self, task: int, node: int) -> int:
        world = self.world
        cpu, memory, speed = world.cpu[task] - ROOM, world.memory[task] - ROOM, world.speed
        fastest, target, least, shortest = 0.0, -1, inf, node
        counting = self.late and self.recipe.counts
        for other in self.candidates(task, node):
            known = world.heard(node, other)
            count, sent_cpu, sent_memory = 0, 0.0, 0.0
            if counting and other != node:
                count, sent_cpu, sent_memory, *_ = self._dealings.total(node, other, known.at_s)
            free = known.free_cpu[other] - sent_cpu >= cpu and known.free_memory[other] - sent_memory >= memory
            if free and not known.n_waiting[other] and speed[other] > fastest:
                fastest, target = speed[other], other
            load = (known.n_waiting[other] + known.n_running[other] + count + 1) / self._rate[other]
            if load < least:
                least, shortest = load, other
        return shortest if target < 0 else target

    def handed(self, task: int, node: int, target: int) -> None:
        """Count it until the other node's next report."""
        if self.late and self.recipe.counts:
            self._dealings.send(task, node, target)

    # Pull.

    def awake(self, task: int, queue: int) -> Iterable[int]:
        """All, for the central queue; else its own node, and those that may take from it and know of it at once."""
        if queue == self._central:
            return self._fastest
        return (queue,) if self.late or self._take == "own" else self._wakes[queue]

    def woken_by_reports(self) -> Iterable[int]:
        """Who has room, and takes from others."""
        if self._take == "own":
            return ()
        free = self.world.free_cpu
        return [node for node in range(self.world.n_nodes) if free[node] >= self._least_cpu - ROOM]

    def pull(self, node: int) -> tuple[int, int] | None:
        """The next task by the recipe's order, from the queues that it may be taken from."""
        world = self.world
        if world.free_cpu[node] < self._least_cpu - ROOM:
            return None
        found = self._best(self._central, node)
        mine = self._best(node, node)
        if found or self._take == "own" or (mine and self._take == "steal"):
            choice = found or mine
        elif self.late:
            choice = self._ask(node, mine)
        else:
            choice = self._first(node, mine)
        if choice and self.recipe.order == "drf":
            self._hold(world.queues[choice[0]][choice[1]][1], 1)
        return choice

    def _first(self, node: int, mine: tuple[int, int] | None) -> tuple[int, int] | None:
        """What comes first in the queues within reach."""
        queues = self.world.queues
        best, best_entry = mine, queues[node][mine[1]] if mine else (inf, 0)
        for other in self._others[node]:
            if queues[other] and (found := first_fit(self.world, other, node)):
                if queues[other][found[1]] < best_entry:
                    best, best_entry = found, queues[other][found[1]]
        return best

    def _ask(self, node: int, mine: tuple[int, int] | None) -> tuple[int, int] | None:
        """Late reports: ask those for a task whose queues had the first heads, until one has any that fits."""
        world = self.world
        own_key = world.queues[node][mine[1]][0] if mine else inf
        heads = [(self._head(node, other), other) for other in self._others[node]]
        for head, other in sorted(heads)[:CLAIMS]:
            if head >= own_key:
                break
            if found := first_fit(world, other, node):
                return found
        return mine

    def _head(self, node: int, other: int) -> float:
        said = self.world.heard(node, other).said
        return said[other] if said else inf

    def announce(self) -> list[float]:
        """Keys of the queues' heads."""
        return [queue[0][0] if queue else inf for queue in self.world.queues[:-1]]

    def _best(self, queue: int, node: int) -> tuple[int, int] | None:
        """What of a queue a node would start first."""
        if not self.world.queues[queue]:
            return None
        if self.recipe.order == "drf":
            return self._poorest(queue, node)
        if self.recipe.order == "tetris":
            return self._aligned(queue, node)
        return first_fit(self.world, queue, node)

    def _poorest(self, queue: int, node: int) -> tuple[int, int] | None:
        """Dominant resource fairness (NSDI 2011): a task of the job whose dominant share is the smallest."""
        world = self.world
        best, least = None, inf
        for index, (_, task) in enumerate(world.queues[queue]):
            cpu, memory = self._held.get(int(world.workload.job[task]), (0.0, 0.0))
            share = max(cpu / self._total_cpu, memory / self._total_memory)
            if share < least and world.fits(task, node):
                best, least = (queue, index), share
        return best

    def _hold(self, task: int, sign: int) -> None:
        world, job = self.world, int(self.world.workload.job[task])
        cpu, memory = self._held.get(job, (0.0, 0.0))
        self._held[job] = (cpu + sign * world.cpu[task], memory + sign * world.memory[task])

    def _aligned(self, queue: int, node: int) -> tuple[int, int] | None:
        """Tetris packing: the largest inner product of demand and free resources, plus shortness."""
        world = self.world
        free_cpu, free_memory = (
            world.free_cpu[node] / self._cores[node],
            world.free_memory[node] / self._all_memory[node],
        )
        best, most = None, -inf
        for index, (_, task) in enumerate(world.queues[queue]):
            if world.fits(task, node):
                alignment = world.cpu[task] / self._cores[node] * free_cpu
                alignment += world.memory[task] / self._all_memory[node] * free_memory
                score = alignment + _TETRIS_SHORTNESS / (1.0 + world.predicted_s[task])
                if score > most:
                    best, most = (queue, index), score
        return best

    def finished(self, task: int, node: int) -> None:
        """Give back what its job holds."""
        if self.recipe.order == "drf":
            self._hold(task, -1)


def dominant_share(world: ClusterWorld) -> np.ndarray:
    """[n] largest share of a task in a node's resources: CPU of the largest, memory of the average one."""
    workload, cluster = world.workload, world.cluster
    return np.maximum(workload.cpu / cluster.cpu.max(), workload.memory / cluster.memory.mean())


def rule(name: str) -> Rule:
    """The rule of a name.

    Raises:
        UserError: as `recipe`.
    """
    return Rule(recipe(name))
