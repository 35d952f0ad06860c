"""Q-learning on flows of tasks: the update, by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sortie_cluster.cluster import Cluster
from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.flow_rules import PricePush
from sortie_cluster.flows_config import FlowsConfig, Learning
from sortie_cluster.reports import Reports
from sortie_cluster.workload import Workload
from sortie_core.config import UserError, load
from sortie_schedule.q_learning import QLearning, flow_policy

FILE = Path(__file__).parents[2] / "configs" / "task_flows.yaml"
INF = float("inf")
GREEDY = Learning(payoff=20.0, learning_rate=0.1, discount=0.9, exploration=0.0)


class Recorded(QLearning):
    """Remembers each update: time, agent, action and the new value."""

    def begin(self, world: ClusterWorld) -> None:
        super().begin(world)
        self.steps: list[tuple[float, int, int, float]] = []

    def _learn(self, node: int, kind: int, action: int, towards: float) -> None:
        super()._learn(node, kind, action, towards)
        self.steps.append((self.world.now, node, action, self.q[node][kind][action]))


def world(
    learner: QLearning,
    service_s: list[list[float]],
    tasks: list[tuple[float, int]],
    reports: Reports | None = None,
    max_hops: int = 10,
) -> ClusterWorld:
    """Agents that all hear each other; tasks, all of kind 0, are (arrival, entry)."""
    n_agents, n = len(service_s), len(tasks)
    ones = np.ones(n_agents)
    cluster = Cluster(ones, 0 * ones, ones, ~np.eye(n_agents, dtype=bool), np.array(service_s), hop_s=1.0)
    workload = Workload(
        arrival_s=np.array([task[0] for task in tasks], float),
        work_s=np.full(n, 4.0),
        cpu=np.ones(n),
        memory=np.zeros(n),
        entry=np.array([task[1] for task in tasks]),
        predicted_s=np.full(n, 4.0),
        job=np.arange(n),
        kind=np.zeros(n, np.int64),
    )
    return ClusterWorld(cluster, workload, learner, reports, max_hops=max_hops, drop=True)


@pytest.mark.parametrize(
    ("shared", "second"),
    [
        (True, 0.9 * -0.1 + 0.1 * (-1 + 0.9 * (-0.1 + 2.6) / 2)),
        (False, 0.9 * -0.1 + 0.1 * (-1 + 0.9 * -0.1)),
    ],
)
def test_the_update_step_by_step(shared: bool, second: float) -> None:
    learner = Recorded(GREEDY, shared=shared)
    run = world(learner, [[INF], [3.0]], [(0, 0), (10, 0), (11, 1)])
    assert learner.q == [[{1: 0.0}], [{1: 0.0, 0: 0.0}]], "agent 0 cannot keep what it cannot serve"
    learner.q[1][0][1] = 1.0
    log = run.run(30)

    kept = [0.9 * 1 + 0.1 * (20 - 3)]
    kept.append(0.9 * kept[0] + 0.1 * (20 - 3))
    kept.append(0.9 * kept[1] + 0.1 * (20 - 6))  # the one that came at the same time waits for that
    assert kept[0] == pytest.approx(2.6)
    expected = [
        (0.0, 0, 1, 0.1 * -1),
        (1.0, 1, 1, kept[0]),
        (10.0, 0, 1, second),
        (11.0, 1, 1, kept[1]),
        (11.0, 1, 1, kept[2]),
    ]
    assert [step[:3] for step in learner.steps] == [step[:3] for step in expected]
    assert [step[3] for step in learner.steps] == pytest.approx([step[3] for step in expected])
    assert learner.value == [[pytest.approx(second)], [pytest.approx(kept[2])]]
    assert log.end_s_of == [4.0, 14.0, 17.0]


def test_a_dropped_task_loses_the_payoff() -> None:
    learner = QLearning(GREEDY, shared=False)
    log = world(learner, [[INF], [INF]], [(0, 0)], max_hops=2).run(10)
    assert log.dropped == [True] and len(log.moves) == 2
    assert learner.q[1][0][0] == pytest.approx(-0.1)
    assert learner.q[0][0][1] == pytest.approx(0.9 * -0.1 + 0.1 * -20)


def test_late_values_are_those_of_the_last_broadcast() -> None:
    learner = Recorded(GREEDY, shared=True)
    run = world(learner, [[INF], [3.0]], [(0.5, 0), (3.5, 0)], Reports(period_s=1.0, delay_s=2.0))
    learner.q[1][0][1] = learner.value[1][0] = 1.0
    run.run(10)
    of_first = [step[3] for step in learner.steps if step[1] == 0]
    assert of_first[0] == pytest.approx(-0.1), "nothing heard of the neighbour's value"
    # the neighbour has learned at 1.5; what it said at 1 has come, what it said at 2 comes at 4
    assert of_first[1] == pytest.approx(0.9 * -0.1 + 0.1 * (-1 + 0.9 * (-0.1 + 1.0) / 2))


def test_exploration_tries_all_actions_alike() -> None:
    learner = QLearning(GREEDY.model_copy(update={"exploration": 1.0}), shared=True)
    world(learner, [[3.0]] * 3, [(0, 0)])
    learner.q[0][0][2] = 100.0
    chosen = Counter(learner.route(0, 0) for _ in range(3000))
    assert all(900 < chosen[action] < 1100 for action in range(3))


def test_the_best_action_is_taken_and_ties_are_broken_by_chance() -> None:
    learner = QLearning(GREEDY, shared=True)
    world(learner, [[3.0]] * 3, [(0, 0)])
    assert {learner.route(0, 0) for _ in range(50)} == {0, 1, 2}
    learner.q[0][0][2] = 0.1
    assert {learner.route(0, 0) for _ in range(50)} == {2}


def test_policies_go_by_name() -> None:
    config = load(FlowsConfig, FILE)
    assert flow_policy("shared_value_q", config).shared  # type: ignore[attr-defined]
    assert not flow_policy("single_flow_q", config).shared  # type: ignore[attr-defined]
    assert isinstance(flow_policy("price_push", config), PricePush)
    with pytest.raises(UserError, match="did you mean shared_value_q?"):
        flow_policy("shared_q", config)
