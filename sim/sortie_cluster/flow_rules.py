"""Hand-made schedulers for flows of tasks through a network of agents that each serve some kinds only.

    random                 keeps a task it can serve, or hands it on, all with equal probability
    instant_optimal        where it ends soonest by the true load of itself and its neighbours, whatever the reports
    price_push             where its price is least, see `PricePush`; drops nothing by intent
    price_push_admission   the same, and gives a task up at once whose price is too high
    pull                   idle servers take from pools that level out, see `Pull`; drops nothing

An agent runs one task at a time, and takes its tasks in the order in which they came; with `pull` it chooses by kind.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_cluster.flows import HOP_S, FlowScheduler
from sortie_cluster.scheduler import DealingsSince, Scheduler
from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sortie_cluster.cluster_world import ClusterWorld

_POWER = 1.5
"""Of the service time in a price: whom a slow server keeps from working costs more than the time itself."""
_HEAD_START_S = 5.0
"""Load that counts for an idle server, so that a fast one is cheaper than a slow one there, too."""
_HOP_PRICE = 40.0
"""What handing on adds to a price; for a task, times 1 + its hand-overs, or late prices would let it wander."""
_MOST_PRICE = 400.0
"""Above it admission gives a task up: servers of 3 s have then about 72 s of work, those of 5 s 31 s."""
_SCARCE = 20
"""Waiting tasks of a kind above which more of them make it no more urgent."""
_UNABLE, _SLOW = 8, 2
"""Tasks by which a pool counts as higher where the agent cannot serve the kind, or not at the best speed."""
_CLAIMS = 2
"""Neighbours that an idle server asks in vain, one after the other, where reports are late."""
_BY_KIND = 1e8
"""Keys of pools are kind times this, plus the time, s: one kind lies together, in the order of arrival."""


class RandomFlow(FlowScheduler):
    """Keeps a task that it can serve, or hands it to a neighbour, all with equal probability."""

    def route(self, task: int, node: int) -> int:
        """Itself, if it can serve the kind, or a neighbour."""
        able = self.world.service_s[node][self.world.kind[task]] < inf
        return self.random.choice((node, *self.reach[node]) if able else self.reach[node])


class InstantOptimal(FlowScheduler):
    """Sends each task to where the work that is there now, the way and the service together take least."""

    def route(self, task: int, node: int) -> int:
        """Itself or a neighbour; any neighbour, where none can serve the kind."""
        kind, service_s = self.world.kind[task], self.world.service_s
        hop_s = self.world.cluster.hop_s
        target, least_s = -1, inf
        if service_s[node][kind] < inf:
            target, least_s = node, self.load_s(node) + service_s[node][kind]
        for other in self.reach[node]:
            expected_s = hop_s + self.load_s(other) + service_s[other][kind]
            if expected_s < least_s:
                target, least_s = other, expected_s
        return target if target >= 0 else self.random.choice(self.reach[node])


class Told(NamedTuple):
    """What an agent broadcasts.

    Attributes:
        load_s: what it has still to do, s.
        passing_on: [kinds] price at which it hands a task on.
        value: [kinds] V, the smaller one of that and of the price at which it keeps a task.
    """

    load_s: float
    passing_on: list[float]
    value: list[float]


class PricePush(FlowScheduler):
    """Prices that neighbours share: V_i(kind) = min(s^1.5 (W_i + 5), 40 + min_j V_j(kind)), this project's design.

    s is the service time, W the work that an agent has still to do. The first term stands for what a task costs those
    after it, the second one for what it costs elsewhere. V is updated once per broadcast, from what each agent has
    heard of its neighbours' V. A task is kept where the first term is the smaller one, and goes to the neighbour of
    least V otherwise, but not back to where it came from: with late broadcasts two agents that cannot serve it would
    play it to and fro. What an agent has sent to another one since that one's last broadcast counts as load there.

    Args:
        most_price: price above which a task is given up as it arrives.
    """

    def __init__(self, most_price: float = inf) -> None:
        self._most_price = most_price

    def begin(self, world: ClusterWorld) -> None:
        """Nobody has heard anything."""
        super().begin(world)
        self._factor = (world.cluster.service_s**_POWER).tolist()
        self._dealings = DealingsSince(world)
        self._came_from = [-1] * len(world.workload)
        self._silent = Told(0.0, [inf] * self.n_kinds, [0.0] * self.n_kinds)
        self._told = [self._silent] * world.n_nodes
        self._next_s = 0.0

    def announce(self) -> list[Told]:
        """Everybody's load and V."""
        return [self._say(node) for node in range(self.world.n_nodes)]

    def _say(self, node: int) -> Told:
        heard = [self._heard(node, other).value for other in self.reach[node]]
        passing_on = [_HOP_PRICE + min(values) for values in zip(*heard, strict=True)] or self._silent.passing_on
        load_s = self.load_s(node)
        keeping = [factor * (load_s + _HEAD_START_S) for factor in self._factor[node]]
        return Told(load_s, passing_on, [min(both) for both in zip(keeping, passing_on, strict=True)])

    def _heard(self, node: int, other: int) -> Told:
        said = self.world.heard(node, other).said if self.late else self._told
        return said[other] if said else self._silent

    def _price(self, node: int, other: int, kind: int) -> float:
        """V of a neighbour as an agent knows it."""
        told = self._heard(node, other)
        if self.late:
            # what was sent less than a hop before a broadcast had not arrived by then
            since_s = self.world.heard(node, other).at_s - self.world.cluster.hop_s
            load_s = told.load_s + self._dealings.total(node, other, since_s).work_s
        else:
            load_s = self.load_s(other)
        return min(self._factor[other][kind] * (load_s + _HEAD_START_S), told.passing_on[kind])

    def route(self, task: int, node: int) -> int:
        """The cheapest of itself and its neighbours; -1 to give the task up."""
        world = self.world
        if not self.late and world.now >= self._next_s:
            self._told, self._next_s = self.announce(), world.now + HOP_S
        kind, hops, came_from = world.kind[task], world.hops[task], self._came_from[task]
        others = [other for other in self.reach[node] if other != came_from] or [came_from]
        least, target = min((self._price(node, other, kind), other) for other in others)
        keeping = self._factor[node][kind] * (self.load_s(node) + _HEAD_START_S)
        if not hops and min(keeping, _HOP_PRICE + least) > self._most_price:
            return -1
        stays = keeping <= _HOP_PRICE * (1 + hops) + least or hops >= world.max_hops
        return node if stays and keeping < inf else target

    def handed(self, task: int, node: int, target: int) -> None:
        """Remember it, and count it until the other one's next broadcast."""
        self._came_from[task] = node
        if self.late and self._factor[target][self.world.kind[task]] < inf:
            self._dealings.send(task, node, target)


class Pull(Scheduler):
    """Idle servers take from pools that level out, this project's design.

    Tasks wait in pools, one per agent and kind. A task that reaches an agent goes on to the neighbour whose pool of its
    kind is lowest, if that is lower than the agent's own; the pools of those that serve the kind slowly, or not at all,
    count as higher. A server that becomes idle takes, from its own and its neighbours' pools, the task of largest
    min(n, 20) / s^2, where n tasks wait in its pool, and s is what it takes, with the way: the quickest first, but
    a scarce kind is left for those that have nothing else. The server stands idle while a task is under way to it.

    With late reports neighbours' pools are known by the last report, and the own tasks sent there since; a server asks
    up to two neighbours, which give at once what they really have.
    """

    def begin(self, world: ClusterWorld) -> None:
        """All pools are empty."""
        super().begin(world)
        service_s = world.cluster.service_s
        n_nodes, self._n_kinds = service_s.shape
        self._pools = [[0] * self._n_kinds for _ in range(n_nodes)]
        self._dealings = DealingsSince(world)
        self._able = np.isfinite(service_s).tolist()
        self._worth = (1.0 / service_s**2).tolist()
        self._worth_away = (1.0 / (service_s + world.cluster.hop_s) ** 2).tolist()
        slow = np.where(service_s > service_s.min(), _SLOW, 0)
        self._level = np.where(np.isfinite(service_s), slow, _UNABLE).tolist()

    def key(self, task: int, queue: int) -> float:
        """By kind, then by time."""
        return self.world.kind[task] * _BY_KIND + self.world.now

    def announce(self) -> list[list[int]]:
        """Everybody's pools, [N][kinds] tasks."""
        return [pool[:] for pool in self._pools]

    def route(self, task: int, node: int) -> int:
        """The lowest pool of the task's kind."""
        world, kind = self.world, self.world.kind[task]
        if world.hops[task] >= world.max_hops:
            return node
        target, least = node, self._pools[node][kind] + self._level[node][kind]
        for other in self.reach[node]:
            level = self._believed(node, other, kind) + self._level[other][kind]
            if level < least:
                target, least = other, level
        return target

    def _believed(self, node: int, other: int, kind: int) -> int:
        """Tasks that an agent thinks to be in a neighbour's pool."""
        if not self.late:
            return self._pools[other][kind]
        known = self.world.heard(node, other)
        since_s = known.at_s - self.world.cluster.hop_s
        n_sent = self._dealings.total(node, other * self._n_kinds + kind, since_s).sent
        return n_sent + (known.said[other][kind] if known.said else 0)

    def handed(self, task: int, node: int, target: int) -> None:
        """Count it until the other one's next report."""
        if self.late:
            self._dealings.send(task, node, target * self._n_kinds + self.world.kind[task])

    def awake(self, task: int, queue: int) -> Iterable[int]:
        """Idle servers that can serve the task: the agent's own, and those of neighbours that know of it at once."""
        kind, n_running = self.world.kind[task], self.world.n_running
        self._pools[queue][kind] += 1
        near = (queue,) if self.late else (queue, *self.reach[queue])
        return [node for node in near if not n_running[node] and self._able[node][kind]]

    def woken_by_reports(self) -> Iterable[int]:
        """Idle servers."""
        return [node for node, count in enumerate(self.world.n_running) if not count]

    def pull(self, node: int) -> tuple[int, int] | None:
        """The first task of the pool that is worth most."""
        world = self.world
        if world.n_running[node]:
            return None
        most, queue, worth = self._best(self._pools[node], self._worth[node]), node, self._worth_away[node]
        if self.late:
            queue, kind = self._ask(node, most)
        else:
            for other in self.reach[node]:
                if (found := self._best(self._pools[other], worth))[0] > most[0]:
                    most, queue = found, other
            kind = most[1]
        if kind < 0:
            return None
        self._pools[queue][kind] -= 1
        return queue, bisect_left(world.queues[queue], (kind * _BY_KIND, -1))

    @staticmethod
    def _best(pool: list[int], worth: list[float]) -> tuple[float, int]:
        """Worth and kind of the best task of a pool; (0, -1) for none that can be served."""
        most, best = 0.0, -1
        for kind, count in enumerate(pool):
            value = (count if count < _SCARCE else _SCARCE) * worth[kind]
            if value > most:
                most, best = value, kind
        return most, best

    def _ask(self, node: int, own: tuple[float, int]) -> tuple[int, int]:
        """Queue and kind, where neighbours' pools are known by reports."""
        offers = []
        for other in self.reach[node]:
            said = self.world.heard(node, other).said
            value, kind = self._best(said[other] if said else [], self._worth_away[node])
            if value > own[0]:
                offers.append((-value, other, kind))
        for _, other, kind in sorted(offers)[:_CLAIMS]:
            if self._pools[other][kind]:
                return other, kind
        return node, own[1]


FLOW_RULES: dict[str, Callable[[], Scheduler]] = {
    "random": RandomFlow,
    "instant_optimal": InstantOptimal,
    "price_push": PricePush,
    "price_push_admission": lambda: PricePush(_MOST_PRICE),
    "pull": Pull,
}
"""Schedulers by name."""


def flow_rule(name: str, others: Iterable[str] = ()) -> Scheduler:
    """The scheduler of a name.

    Args:
        name: of `FLOW_RULES`.
        others: names that are known elsewhere.

    Raises:
        UserError: no such rule.
    """
    if name in FLOW_RULES:
        return FLOW_RULES[name]()
    known = [*FLOW_RULES, *others]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    raise UserError(f"comparison.policies: no policy {name!r}; {hint}")
