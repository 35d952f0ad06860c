"""Q-learning of where tasks of several flows go, online, each agent with its own table.

The state of an agent is the kind T of the task that it holds; its actions b are to keep the task, where it can serve
the kind, and to hand it to each of its neighbours. Its table is updated by

    Q(T, b) <- (1 - a) Q(T, b) + a [R + g sum_k w(i, k) V_k(T')],    V_k(T) = max_b Q_k(T, b),

where T' is the task after the way, of the same kind. With shared values, w(i, k) = 1 / (degree + 1) for the agent i and
each of its neighbours, which broadcast V; single-flow agents learn by themselves, w(i, i) = 1. Both rules are as
published for multiple task flows. The rewards are left open there, and chosen here:

- kept: the payoff, minus 1 for each second until the task ends. Agents serve in the order of arrival, so this is known
  at once, and learned at once: learned as the task ends, it comes so late that queues overshoot, and half as many tasks
  are completed (measured). Nothing follows;
- handed on: minus 1 for each second of the way;
- handed on once too often, and so dropped: minus the payoff, which is lost. Nothing follows.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from sortie_cluster.flow_rules import FLOW_RULES, flow_rule
from sortie_cluster.flows import FlowScheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sortie_cluster.cluster_world import ClusterWorld
    from sortie_cluster.flows_config import FlowsConfig, Learning
    from sortie_cluster.scheduler import Scheduler

SINGLE_FLOW, SHARED_VALUE = "single_flow_q", "shared_value_q"
FLOW_POLICIES = (*FLOW_RULES, SINGLE_FLOW, SHARED_VALUE)
"""Names of all that can be compared."""


def flow_policy(name: str, config: FlowsConfig) -> Scheduler:
    """The rule or learner of a name.

    Raises:
        UserError: there is none.
    """
    if name in (SINGLE_FLOW, SHARED_VALUE):
        return QLearning(config.learning, shared=name == SHARED_VALUE)
    return flow_rule(name, (SINGLE_FLOW, SHARED_VALUE))


class QLearning(FlowScheduler):
    """Q-learning agents, epsilon-greedy; ties are broken by chance, by the run's seed.

    Args:
        learning: payoff and rates.
        shared: whether agents learn from their neighbours' values, too.

    Attributes:
        q: [N][kinds] {agent to which the task goes, or that keeps it: value}.
        value: [N][kinds] V.
    """

    def __init__(self, learning: Learning, *, shared: bool) -> None:
        self.learning, self.shared = learning, shared

    def begin(self, world: ClusterWorld) -> None:
        """Nothing is learned yet; all values are 0."""
        super().begin(world)
        self.q = [
            [dict.fromkeys((node, *near) if service_s < inf else near, 0.0) for service_s in world.service_s[node]]
            for node, near in enumerate(self.reach)
        ]
        self.value = [[0.0] * self.n_kinds for _ in self.q]
        self._action = [-1] * len(world.workload)

    def announce(self) -> list[list[float]]:
        """Everybody's V."""
        return [values[:] for values in self.value]

    def route(self, task: int, node: int) -> int:
        """The action of most value, or any."""
        values = self.q[node][self.world.kind[task]]
        if self.random.random() < self.learning.exploration:
            best = list(values)
        else:
            most = max(values.values())
            best = [action for action, value in values.items() if value == most]
        self._action[task] = action = best[0] if len(best) == 1 else self.random.choice(best)
        return action

    def awake(self, task: int, queue: int) -> Iterable[int]:
        """The agent that has kept the task, and learns what that is worth."""
        awake = super().awake(task, queue)
        # the load holds the task itself by now
        self._learn(queue, self.world.kind[task], queue, self.learning.payoff - self.load_s(queue))
        return awake

    def handed(self, task: int, node: int, target: int) -> None:
        """The way has its price; what follows is worth what those have said who learn together."""
        kind = self.world.kind[task]
        near = (node, *self.reach[node]) if self.shared else (node,)
        future = sum(self._heard(node, other, kind) for other in near) / len(near)
        self._learn(node, kind, target, self.learning.discount * future - self.world.cluster.hop_s)

    def dropped(self, task: int, node: int) -> None:
        """The payoff is lost."""
        self._learn(node, self.world.kind[task], self._action[task], -self.learning.payoff)

    def _heard(self, node: int, other: int, kind: int) -> float:
        if not self.late or node == other:
            return self.value[other][kind]
        said = self.world.heard(node, other).said
        return said[other][kind] if said else 0.0

    def _learn(self, node: int, kind: int, action: int, towards: float) -> None:
        values = self.q[node][kind]
        values[action] += self.learning.learning_rate * (towards - values[action])
        self.value[node][kind] = max(values.values())
