"""LGTC agents in the cluster world: every node decides by `sortie_policy.cluster_policy` from what it knows."""

from __future__ import annotations

from math import exp, inf, log
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from sortie_cluster.scheduler import CAME, REFUSED, ROOM, TAKEN, Scheduler, first_fit
from sortie_policy.cluster_features import ClusterFeatures, Said
from sortie_policy.cluster_policy import ClusterPolicy, Heard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sortie_cluster.cluster_world import ClusterWorld

    Choice = tuple[int, tuple[int, int] | None, float]
    """A queue; it and the place in it of its first task that fits, where that is known; the key of its first task."""


class LGTCScheduler(Scheduler):
    """Every node runs the same policy.

    Args:
        policy: the parameters.
        scope: hops over which nodes hear of each other.
        tick_s: how often nodes exchange packets where reports are not late, s.
        claims: queues that a node with room asks in vain before it waits for news.

    Attributes:
        features: what nodes know, since `begin`.
        state: [N, F] x.
        attention: [N, N] Xi over queues.
    """

    def __init__(self, policy: ClusterPolicy, scope: float = 1, tick_s: float = 1.0, claims: int = 2) -> None:
        self.policy, self.scope, self._tick_s, self._claims = policy, scope, tick_s, claims
        self.again_s = tick_s

    def begin(self, world: ClusterWorld) -> None:
        """Everybody forgets."""
        super().begin(world)
        n_nodes, parts = world.n_nodes, self.policy.parts
        self._random = Random(world.seed)
        power, ageing = parts["key"]
        self._power, self._ageing = float(power), float(ageing) / 100.0
        self._push_noise, self._pull_noise = (abs(float(parts[f"{verb}_noise"][0])) for verb in ("push", "pull"))
        self._hop_price = exp(float(parts["price"][0])) * 0.1
        self.features = ClusterFeatures(world, self.policy.hidden, self._ageing)
        self.state = np.zeros((n_nodes, self.policy.hidden))
        self.attention = np.zeros((n_nodes, n_nodes))
        for node, others in enumerate(self.reach):
            self.attention[node, [node, *others]] = 1 / (1 + len(others))
        self._linked = np.array(world.cluster.linked)
        fastest = sorted(range(n_nodes), key=lambda node: -world.speed[node])
        rank = {node: place for place, node in enumerate(fastest)}
        self._wakes = [(node, *sorted(others, key=rank.__getitem__)) for node, others in enumerate(self.reach)]
        self._ticked_s, self._due_s = 0.0, self._tick_s

    # A tick.

    def _tick(self) -> None:
        """All nodes exchange packets and advance their state."""
        now, features = self.world.now, self.features
        own = self._load = features.own()
        mine = Heard(self.state, own, self.attention)
        heard, prices = features.told_to_all() if self.late else (mine, np.array(features.price))
        self.state = self.policy.advance(mine, heard, self._linked, now - self._ticked_s)
        waits = own[:, 3] + np.where(own[:, 0] > 0, 0.0, own[:, 7])
        # V_i = min(p_i, c + min_j V_j): what a task would have to wait, here or beyond
        features.price = np.minimum(waits, np.where(self._linked, prices, np.inf).min(1) + self._hop_price).tolist()
        self._ticked_s, self._due_s = now, now + self._tick_s

    def announce(self) -> Said:
        """State, load, attention, price, head of the queue and next release of all nodes."""
        self._tick()
        heads = [queue[0][0] if queue else inf for queue in self.world.queues[:-1]]
        features = self.features
        return Said(self.state, self._load, self.attention.copy(), features.price, heads, features.releases())

    def _states(self, node: int, near: list[int]) -> np.ndarray:
        """[M, F] x of nodes as one of them knows them."""
        if not self.late:
            return self.state[near]
        told = self.features.told
        return np.array([self.state[j] if j == node else told(node, j).state[j] for j in near])

    # Push.

    def key(self, task: int, queue: int) -> float:
        """Shortest predicted, smallest first, and with the ageing that was learned."""
        features = self.features
        size = features.log_predicted[task] + self._power * features.log_share[task]
        return size + self._ageing * self.world.log.ready_s[task]

    def route(self, task: int, node: int) -> int:
        """The node, of itself and those it hears, that scores best for a task."""
        if not self.late and self.world.now >= self._due_s:
            self._tick()
        near = self.candidates(task, node)
        if len(near) == 1:
            return near[0]
        rows, states = self.features.push(task, node, near), self._states(node, near)
        scores = self.policy.scores("push", rows, self.state[node], states)
        if self._push_noise:
            scores = scores + self._push_noise * self._gumbel(len(near))
        return near[int(scores.argmax())]

    def handed(self, task: int, node: int, target: int) -> None:
        """Both nodes remember it until they hear from each other."""
        self.hand(task, node, target)
        if self.late:
            self.features.dealings.add(target, node, CAME)

    def hand(self, task: int, node: int, target: int) -> None:
        """The node remembers what it hands over; the task carries along where it has been."""
        self.features.been.add((task, node))
        if self.late:
            self.features.dealings.send(task, node, target)

    def finished(self, task: int, node: int) -> None:
        """Forget where it has been."""
        been = self.features.been
        been -= {(task, each) for each in range(self.world.n_nodes)} & been

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
        queues = world.queues
        if not mine and not self._others_have_any(node):
            return None  # whoever is asked refuses
        choices: list[Choice] = [(node, mine, queues[node][mine[1]][0])] if mine else []
        if self.late:
            told = self.features.told
            choices += [(j, None, told(node, j).head[j]) for j in self.reach[node]]
        else:
            for j in self.reach[node]:
                if queues[j] and (found := first_fit(world, j, node)):
                    choices.append((j, found, queues[j][found[1]][0]))
        if not choices or (len(choices) == 1 and mine):
            return mine
        rows, states = self.features.pull(node, choices), self._states(node, [j for j, _, _ in choices])
        scores = self.policy.scores("pull", rows, self.state[node], states)
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
        self.features.dealings.add(node, queue, TAKEN if found else REFUSED)
        return found

    def _attend(self, node: int, choices: list[Choice], scores: np.ndarray) -> None:
        weight = np.exp(np.minimum(scores - scores.max(), 0.0))
        row = self.attention[node]
        row[:] = 0.0
        for (j, _, _), each in zip(choices, (weight / weight.sum()).tolist(), strict=True):
            row[j] = each

    def _gumbel(self, size: int) -> np.ndarray:
        draw = self._random.random
        return np.array([-log(-log(draw() + 1e-12)) for _ in range(size)])
