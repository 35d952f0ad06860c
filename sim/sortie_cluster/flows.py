"""Flows of tasks through a network of agents, each of which serves some kinds only, and what any schedule can reach.

The setting of multi-agent Q-learning for multiple task flows: every agent draws a few neighbours, serves some kinds of
resource, each fast or slow, and has one server; tasks arrive at agents at whole steps, one step is one second, and a
task that has been handed on too often is dropped.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_cluster.cluster import Cluster, linked_by_draw
from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.scheduler import Scheduler
from sortie_cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from sortie_cluster.flows_config import FlowsConfig, Network

HOP_S = 1.0
"""What handing a task to a neighbour takes, s: one step."""


class Flows(NamedTuple):
    """What one run is about.

    Attributes:
        cluster: the agents.
        workload: the tasks.
    """

    cluster: Cluster
    workload: Workload


def make_flows(config: FlowsConfig, seed: int) -> Flows:
    """Draw the agents and the tasks of one run, the same for every policy.

    Tasks arrive at agents 0 to n_flows - 1: which agents these are does not matter, for all are drawn alike.
    """
    return Flows(_draw_cluster(config.network, seed), _draw_workload(config, seed))


def _draw_cluster(network: Network, seed: int) -> Cluster:
    random = np.random.default_rng([seed, 0])
    n_agents, n_kinds = network.n_agents, network.n_kinds
    linked = linked_by_draw(n_agents, network.n_neighbours, random)
    able = np.zeros((n_agents, n_kinds), bool)
    while not able.any(0).all():  # every kind is served by somebody
        able = random.random((n_agents, n_kinds)).argsort(-1).argsort(-1) < network.kinds_per_agent
    fast = random.random((n_agents, n_kinds)) < network.fast_probability
    return Cluster(
        cpu=np.ones(n_agents),
        memory=np.zeros(n_agents),
        speed=np.ones(n_agents),
        linked=linked,
        service_s=np.where(able, np.where(fast, network.fast_s, network.normal_s), np.inf),
        hop_s=HOP_S,
    )


def _draw_workload(config: FlowsConfig, seed: int) -> Workload:
    random = np.random.default_rng([seed, 1])
    flows, network = config.flows, config.network
    step, entry = np.nonzero(random.random((flows.steps, flows.n_flows)) < flows.arrivals_per_step)
    n_tasks = len(step)
    # agents differ in what a task takes; this is what it takes on average
    work_s = network.normal_s + network.fast_probability * (network.fast_s - network.normal_s)
    return Workload(
        arrival_s=step.astype(np.float64),
        work_s=np.full(n_tasks, work_s),
        cpu=np.ones(n_tasks),
        memory=np.zeros(n_tasks),
        entry=entry.astype(np.int64),
        predicted_s=np.full(n_tasks, work_s),
        job=np.arange(n_tasks),
        kind=random.integers(0, network.n_kinds, n_tasks),
    )


def world_of(config: FlowsConfig, flows: Flows, scheduler: Scheduler, seed: int) -> ClusterWorld:
    """The world in which one policy gets these tasks; run it until `config.flows.steps`."""
    return ClusterWorld(
        flows.cluster,
        flows.workload,
        scheduler,
        config.heard,
        max_hops=config.flows.max_deliveries,
        drop=True,
        seed=seed,
    )


def offered_rates(config: FlowsConfig) -> NDArray[np.float64]:
    """[N, kinds] tasks that arrive per step on average."""
    rates = np.zeros((config.network.n_agents, config.network.n_kinds))
    rates[: config.flows.n_flows] = config.flows.arrivals_per_step / config.network.n_kinds
    return rates


def capacity(cluster: Cluster, config: FlowsConfig) -> float:
    """Tasks per 100 steps that no policy can exceed in the long run: `throughput_bound` of the mean arrivals."""
    return 100.0 * throughput_bound(cluster, offered_rates(config))


def throughput_bound(cluster: Cluster, offered: NDArray[np.float64]) -> float:
    """The most tasks per step that can be completed, by the fluid linear program.

    Variables, all at least 0: x[i, k], tasks of kind k that agent i serves per step, and f[i, j, k], those that it
    hands to its neighbour j. Maximise the sum of x subject to

        sum_k service[i, k] x[i, k] <= 1                              one server per agent,
        x[i, k] + sum_j f[i, j, k] - sum_j f[j, i, k] <= offered[i, k]  what comes in is served, handed on, or lost,
        x[i, k] = 0 where agent i cannot serve kind k.

    Links carry any flow. Delays, the limit of hand-overs and chance only make less possible. A run of T steps from
    empty queues satisfies all of this with its own counts over T, so its completions are bounded exactly by the value
    for the arrivals that it really had.

    Args:
        cluster: with `service_s`, s; one task at a time on each node.
        offered: [N, kinds] tasks per step.

    Returns:
        Tasks per step.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    service_s = cluster.service_s
    n_agents, n_kinds = service_s.shape
    able = np.isfinite(service_s)
    n_served = n_agents * n_kinds
    source, target = np.nonzero(cluster.linked)
    # rows of the second kind: of the agent that a flow leaves, and of the agent that it reaches
    kind = np.arange(n_kinds)
    leaves = (n_agents + source[:, None] * n_kinds + kind).ravel()
    reaches = (n_agents + target[:, None] * n_kinds + kind).ravel()
    flow = n_served + np.arange(len(leaves))
    served = np.arange(n_served)
    entries = np.concatenate(
        [
            np.where(able, service_s, 0.0).ravel(),
            np.ones(n_served),
            np.ones(len(flow)),
            -np.ones(len(flow)),
        ]
    )
    rows = np.concatenate([served // n_kinds, n_agents + served, leaves, reaches])
    columns = np.concatenate([served, served, flow, flow])
    upper = np.concatenate([np.where(able.ravel(), np.inf, 0.0), np.full(len(flow), np.inf)])
    result = linprog(
        np.concatenate([-np.ones(n_served), np.zeros(len(flow))]),
        A_ub=coo_array((entries, (rows, columns)), shape=(n_agents + n_served, n_served + len(flow))).tocsr(),
        b_ub=np.concatenate([np.ones(n_agents), offered.ravel()]),
        bounds=np.stack([np.zeros(len(upper)), upper], -1),
        method="highs",
    )
    if not result.success:
        raise ArithmeticError(f"the linear program of the throughput bound failed: {result.message}")
    return float(-result.fun)


class FlowScheduler(Scheduler):
    """Keeps account of the agents' work, and serves own tasks in the order of arrival.

    Attributes:
        n_kinds: kinds of tasks.
        work_s: [N] what the tasks that wait at each agent will take there, s.
        busy_until_s: [N] when the task that runs ends.
    """

    def begin(self, world: ClusterWorld) -> None:
        """Nothing waits."""
        super().begin(world)
        self.n_kinds = world.cluster.service_s.shape[1]
        self.work_s = [0.0] * world.n_nodes
        self.busy_until_s = [0.0] * world.n_nodes
        self.random = Random(world.seed)

    def load_s(self, node: int) -> float:
        """What an agent has still to do, s."""
        return self.work_s[node] + max(0.0, self.busy_until_s[node] - self.world.now)

    def awake(self, task: int, queue: int) -> Iterable[int]:
        """The agent at which a task has begun to wait."""
        self.work_s[queue] += self.world.service_s[queue][self.world.kind[task]]
        return (queue,)

    def pull(self, node: int) -> tuple[int, int] | None:
        """The task that has waited longest; only tasks that the agent can serve wait at it."""
        world = self.world
        if world.n_running[node] or not world.queues[node]:
            return None
        took_s = world.service_s[node][world.kind[world.queues[node][0][1]]]
        self.work_s[node] -= took_s
        self.busy_until_s[node] = world.now + took_s
        return node, 0
