"""One node's runtime decides by its packets as the batched scheduler does over the whole cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sortie_bridge.backends import SimulatedBackend
from sortie_bridge.task_ledger import TaskLedger
from sortie_cluster.live_config import LiveConfig
from sortie_cluster.metrics import metrics
from sortie_cluster.reports import Hearing, Reports
from sortie_cluster.validator import validate
from sortie_core.config import load
from sortie_core.packets import Consumers, HandOver, LocalView, Packet
from sortie_policy.cluster_features import Said
from sortie_policy.cluster_policy import PUSH_FEATURES, ClusterPolicy
from sortie_policy.cluster_runtime import ClusterRuntime, NodeScheduler, NodeWorld

YAML = Path(__file__).parents[2] / "configs" / "cluster_live.yaml"
OVERRIDES = ["arrivals.load=1.1", "arrivals.n_tasks=40", "cluster.n_nodes=6", "ros.lockstep=true"]
OVERRIDES += ["live.backend=simulated", "arrivals.dependencies=true", "agents.max_hops=4"]


@pytest.fixture(scope="module")
def config() -> LiveConfig:
    return load(LiveConfig, YAML, OVERRIDES)


@pytest.fixture(scope="module")
def policy() -> ClusterPolicy:
    """Not the rule that a policy begins as: every part of it has a say."""
    policy = ClusterPolicy()
    change = 0.3 * np.random.default_rng(1).standard_normal(policy.vector.size) * policy.scale
    changed = policy.with_vector(policy.vector + change)
    changed.parts["push_noise"][:] = changed.parts["pull_noise"][:] = 0.0
    changed.parts["push_linear"][PUSH_FEATURES.index("own")] = 0.5  # queues form, and others take from them
    changed.project()
    return changed


class WholeWorld(NodeWorld):
    """The truth of all nodes, and the reports of `ClusterWorld`."""

    def __init__(self, config: LiveConfig, scheduler: NodeScheduler) -> None:
        super().__init__(config.nodes, Reports(config.agents.tick_s), 0)
        self.scheduler = scheduler
        self.hearing = Hearing(self)  # type: ignore[arg-type,assignment]


class Batched(NodeScheduler):
    """Its reports are as coarse as packets."""

    def announce(self) -> Said:
        said = super().announce()
        coarse = [np.asarray(part, np.float32).astype(float) for part in said]
        return Said(*coarse[:3], *(part.tolist() for part in coarse[3:]))


def view(ledger: TaskLedger, node: int, tick: int, now_s: float) -> LocalView:
    n_nodes = len(ledger.cluster)
    queues = tuple(ledger.queue(j, now_s) if j == node else () for j in range(n_nodes))
    nothing, nobody = np.zeros((n_nodes, 2)), np.zeros(n_nodes, bool)
    consumers = Consumers(nothing, nothing, nothing, ~nobody, nobody, nobody, np.zeros(2, bool), queues)
    stock = np.array(ledger.stock(node), np.float32)
    running_s, taken_from = ledger.running_s(node, now_s), ledger.taken_from[node]
    return LocalView(tick, now_s, np.zeros(2), np.zeros(2), stock, consumers, running_s, taken_from)


def run_tick(runtimes: list[ClusterRuntime], ledger: TaskLedger, tick: int, now_s: float) -> None:
    packets: list[Packet] = [each.start_tick(view(ledger, node, tick, now_s)) for node, each in enumerate(runtimes)]
    for node, runtime in enumerate(runtimes):
        runtime.finish_round([packets[j] for j in ledger.cluster.neighbours[node]])


def coarse_knowledge(world: WholeWorld) -> None:
    last = world.hearing.told[max(world.hearing.told)]
    for name in ("backlog_s", "free_cpu", "free_memory"):
        setattr(last, name, np.float32(getattr(last, name)).astype(float).tolist())


def test_packets_among_neighbours_give_the_decisions_of_the_batched_scheduler(
    config: LiveConfig, policy: ClusterPolicy
) -> None:
    scenario, tick_s = config.scenario, config.agents.tick_s
    runtimes = [ClusterRuntime(policy, config, node) for node in range(len(scenario.cluster))]
    batched = Batched(policy, config.agents)
    whole = WholeWorld(config, batched)
    batched.begin(whole)  # type: ignore[arg-type]
    ledger = TaskLedger(config.nodes, scenario.workload, config.agents.max_hops)
    backend = SimulatedBackend(config.nodes)
    n_asks = n_handed = n_others = 0
    had: list[set[int]] = [set() for _ in runtimes]
    asked: list[list[int]] = [[] for _ in runtimes]
    for tick in range(400):
        now_s = tick * tick_s
        ledger.begin_tick()
        for event in backend.events(now_s):
            ledger.note(event)
        ledger.release(now_s)
        run_tick(runtimes, ledger, tick, now_s)

        whole.now = now_s
        for node in range(whole.n_nodes):
            tasks = ledger.queue(node, now_s)
            batched.know_all(node, tasks, had[node])
            had[node] = {task.number for task in tasks}
            batched.learn(node, asked[node], ledger.taken_from[node])
            whole.see(node, np.float32(ledger.stock(node)).tolist(), ledger.running_s(node, now_s), tasks)
        whole.hearing.tell()  # type: ignore[attr-defined]
        coarse_knowledge(whole)
        whole.now = now_s + 1e-6
        for node, runtime in enumerate(runtimes):
            np.testing.assert_allclose(runtime.state, batched.state[node], rtol=0, atol=1e-9)
            hand_overs, asks = batched.place(node, ledger.queue(node, now_s)), batched.asks(node)
            hand_overs += batched.hand_on(node)
            assert runtime.decision is not None
            assert runtime.decision.asks == tuple(asks), (tick, node)
            assert runtime.decision.hand_overs == tuple(hand_overs), (tick, node)
            asked[node] = asks
            n_asks, n_others = n_asks + len(asks), n_others + sum(each != node for each in asks)
            n_handed += sum(each.target != node for each in hand_overs)

        for node, runtime in enumerate(runtimes):
            ledger.place(node, runtime.decision.hand_overs, now_s)
        for node, runtime in enumerate(runtimes):
            for task, where in ledger.take(node, runtime.decision.asks, now_s):
                work_s = float(scenario.workload.work_s[task])
                backend.submit(task, where, work_s, ledger.cpu[task], ledger.memory[task], now_s)
        for node, runtime in enumerate(runtimes):
            ledger.hand_on(node, runtime.decision.hand_overs, now_s)
        if ledger.done:
            break
    assert ledger.done, ledger.n_ended
    assert n_asks >= len(scenario.workload)
    assert n_others
    assert n_handed
    ledger.log.end_s = now_s
    validate(ledger.log, hops=1)
    assert metrics(ledger.log, 0.0)["backlog"] == 0


def test_a_node_that_hears_nothing_keeps_working(config: LiveConfig, policy: ClusterPolicy) -> None:
    scenario = config.scenario
    ledger = TaskLedger(config.nodes, replace(scenario.workload, entry=np.zeros_like(scenario.workload.entry)), 6)
    ledger.release(100.0)
    runtime = ClusterRuntime(policy, config, 0)
    packet = runtime.start_tick(view(ledger, 0, 0, 100.0))
    assert packet.payload.dtype == np.float32
    assert len(packet.payload) == policy.hidden + 8 + 6 + 8
    assert runtime.finish_round([]) is None
    assert runtime.decision is not None
    assert {each.task for each in runtime.decision.hand_overs} == set(ledger.unplaced[0])
    assert runtime.decision.choice in range(7)
    with pytest.raises(RuntimeError, match="before start_tick"):
        runtime.finish_round([])


def told(runtime: ClusterRuntime, other: int) -> tuple[int, int, int]:
    """Tasks that came, that were taken, and asks in vain, since long ago."""
    return runtime._scheduler.features.dealings.total(runtime.index, other, -1.0)[-3:]


def test_an_agent_learns_from_what_becomes_of_its_tasks_and_asks(config: LiveConfig, policy: ClusterPolicy) -> None:
    runtime = ClusterRuntime(policy, config, 0)
    one, other = config.nodes.neighbours[0][:2]
    agents = runtime._scheduler
    agents.learn(0, [one, 0, other, one], [other, one])
    assert told(runtime, one) == (0, 1, 1)
    assert told(runtime, other) == (0, 1, 0)
    agents.learn(0, [0, other], [])
    assert told(runtime, other) == (0, 1, 1)

    ledger = TaskLedger(config.nodes, config.scenario.workload, 6)
    ledger.release(100.0)
    task = ledger.unplaced[one][0]
    ledger.place(one, [HandOver(task, 0, 0.0)], 100.0)
    for tick in (100, 101):  # it came once, however long it stays
        runtime.start_tick(view(ledger, 0, tick, float(tick)))
        assert told(runtime, one) == (1, 1, 1)
    assert (task, one) in agents.features.been
    ledger.unplaced[0].clear()
    ledger.queues[0].clear()
    runtime.start_tick(view(ledger, 0, 102, 102.0))
    assert not runtime._world.cpu
    assert not agents.features.log_share
    assert not agents.features.been
