"""From a configuration to one run's nodes and tasks."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_cluster.alibaba import read_batch_tasks
from sortie_cluster.cluster import Cluster, linked_by_radius, ring, scattered
from sortie_cluster.scheduler import ROOM
from sortie_cluster.trace_generator import generate_trace
from sortie_cluster.workload import Workload
from sortie_core.config import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_cluster.config import ClusterConfig, Nodes, Trace
    from sortie_cluster.data_report import DataReport
    from sortie_cluster.trace_table import TraceTable

_MOST_FITTED = 100_000
"""Tasks that the duration model learns from; more gain nothing."""
_SPARE = 1.5
"""Tasks per source of a closed loop, over what it needs if no task ever waits."""


class Tasks(NamedTuple):
    """Tasks of one window of a trace.

    Attributes:
        table: the tasks.
        predicted_s: [n] their durations as predicted by a model of the training window's jobs, s.
        report: what was found in the trace's file; None for generated tasks.
    """

    table: TraceTable
    predicted_s: NDArray[np.float64]
    report: DataReport | None


class Scenario(NamedTuple):
    """What one run is about.

    Attributes:
        cluster: the nodes.
        workload: the tasks.
        too_large: tasks of the window that no node could ever run, and that are left out, in words; empty for none.
    """

    cluster: Cluster
    workload: Workload
    too_large: str


@lru_cache(maxsize=4)
def tasks_of(trace: Trace) -> Tasks:
    """Read or generate the tasks of a trace's window; the durations are predicted by what its training window teaches.

    Raises:
        UserError: the file cannot be read, or holds no task of the window.
    """
    # its library takes a second to import, which agents that are given their tasks need not spend
    from sortie_cluster.duration_model import DurationModel

    if trace.path:
        table, report = read_batch_tasks(trace.path, trace.n_jobs, trace.from_s, trace.until_s)
    else:
        table, report = generate_trace(trace.n_jobs, trace.seed), None
    training = table.window("train")
    if len(training) < 2:
        raise UserError(f"trace: only {len(table)} tasks; raise trace.n_jobs, or widen trace.from_s and trace.until_s")
    if len(training) > _MOST_FITTED:
        training = training.select(np.arange(len(training)) < _MOST_FITTED)
    chosen = table if trace.window == "all" else table.window(trace.window)
    low_s, high_s = trace.duration_s
    kept = (chosen.duration_s >= low_s) & (chosen.duration_s <= high_s)
    if not kept.any():
        raise UserError(
            f"trace.duration_s: no task of the {trace.window} window takes between {low_s:g} and {high_s:g} s"
        )
    predicted_s = DurationModel.fit(training, between_s=(low_s, high_s)).predict(chosen)
    return Tasks(chosen.select(kept), np.clip(predicted_s[kept], low_s, high_s), report)


def make_cluster(nodes: Nodes, seed: int) -> Cluster:
    """Draw the nodes of one run."""
    random = np.random.default_rng([seed, 0])
    n_nodes = nodes.n_nodes
    if nodes.topology == "ring":
        position, radius_m = ring(n_nodes)
    elif nodes.topology == "full":
        position, radius_m = ring(n_nodes)[0], float("inf")
    else:
        position, radius_m = scattered(n_nodes, nodes.mean_degree, random)
    return Cluster(
        cpu=random.choice(nodes.cores, n_nodes),
        memory=random.choice(nodes.memory, n_nodes),
        speed=np.exp(random.uniform(math.log(nodes.speed[0]), math.log(nodes.speed[1]), n_nodes)),
        linked=linked_by_radius(position, radius_m),
        hop_s=nodes.hop_s,
        position=position,
    )


def make_scenario(config: ClusterConfig, seed: int) -> Scenario:
    """Draw the nodes and the tasks of one run, the same for every policy.

    Raises:
        UserError: as `tasks_of`; or no task fits on any node.
    """
    cluster = make_cluster(config.cluster, seed)
    tasks, too_large = _that_fit(config, tasks_of(config.trace), cluster)
    workload = _closed(config, tasks, seed) if config.arrivals.mode == "closed" else _open(config, tasks, cluster, seed)
    return Scenario(cluster, workload, too_large)


def _that_fit(config: ClusterConfig, tasks: Tasks, cluster: Cluster) -> tuple[Tasks, str]:
    """The tasks that some node can run, and what is left out, in words.

    Raises:
        UserError: no node can run any.
    """
    cpu, memory = _demands(config, tasks.table)
    sizes = np.unique(np.stack([cluster.cpu, cluster.memory]), axis=1)
    able = np.zeros(len(cpu), bool)
    for most_cpu, most_memory in sizes.T:
        able |= (cpu <= most_cpu + ROOM) & (memory <= most_memory + ROOM)
    if not able.any():
        raise UserError("cluster.cores, cluster.memory: no node can run any task of the trace; raise them")
    if able.all():
        return tasks, ""
    first = tasks.table.name(int(able.argmin()))
    told = (
        f"{(~able).sum()} of {len(able)} tasks are larger than any node and left out, {first} first; raise "
        "cluster.cores or cluster.memory to keep them"
    )
    return tasks._replace(table=tasks.table.select(able), predicted_s=tasks.predicted_s[able]), told


def _demands(config: ClusterConfig, table: TraceTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if config.arrivals.whole_slots:
        return np.ones(len(table)), np.zeros(len(table))
    return table.cpu, table.memory


def _names(table: TraceTable) -> NDArray[np.str_]:
    return np.char.add(np.char.add(table.job_name.astype(np.str_), "/"), table.task_name.astype(np.str_))


def _closed(config: ClusterConfig, tasks: Tasks, seed: int) -> Workload:
    """Tasks in random order, one after the other for each source."""
    random, arrivals = np.random.default_rng([seed, 1]), config.arrivals
    table = tasks.table
    cycle_s = arrivals.think_s + float(table.duration_s.mean()) / max(config.cluster.speed)
    n_tasks = int(_SPARE * arrivals.sources * arrivals.duration_s / cycle_s) + arrivals.sources
    drawn = random.choice(len(table), n_tasks, replace=n_tasks > len(table))
    cpu, memory = _demands(config, table)
    return Workload(
        arrival_s=np.zeros(n_tasks),
        work_s=table.duration_s[drawn],
        cpu=cpu[drawn],
        memory=memory[drawn],
        entry=random.integers(0, config.cluster.n_nodes, n_tasks),
        predicted_s=tasks.predicted_s[drawn],
        job=table.job[drawn],
        kind=np.zeros(n_tasks, np.int64),
        source=np.arange(n_tasks) % arrivals.sources,
        think_s=random.exponential(arrivals.think_s, n_tasks),
        name=_names(table)[drawn],
    )


def _open(config: ClusterConfig, tasks: Tasks, cluster: Cluster, seed: int) -> Workload:
    """Consecutive jobs of the window from a place that the seed draws, jobs as far apart as the load asks for.

    Within a job, tasks arrive as long after its first one as they were registered after it.
    """
    random, arrivals = np.random.default_rng([seed, 1]), config.arrivals
    whole = tasks.table
    jobs, first, of_job, sizes = np.unique(whole.job, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    order = np.roll(order, -int(random.integers(len(order))))
    n_jobs = min(int(np.searchsorted(np.cumsum(sizes[order]), arrivals.n_tasks)) + 1, len(order))
    place = np.full(len(jobs), -1)
    place[order[:n_jobs]] = np.arange(n_jobs)
    mask = place[of_job] >= 0
    table, number = whole.select(mask), place[of_job[mask]]
    began_s = whole.registered_s[first][order[:n_jobs]]
    # where the window's end is reached, its beginning follows
    began_s = began_s + (began_s < began_s[0]) * (began_s.max() - began_s.min() + 1.0)
    cpu, memory = _demands(config, table)
    work_s = table.duration_s
    needed_s = max(
        float((cpu * work_s).sum() / (cluster.cpu * cluster.speed).sum()),
        float((memory * work_s).sum() / (cluster.memory * cluster.speed).sum()),
    )
    span_s = max(float(began_s[-1] - began_s[0]), 1e-9)
    starts_s = (began_s - began_s[0]) / span_s * (needed_s / arrivals.load)
    arrival_s = starts_s[number]
    if not arrivals.dependencies:
        arrival_s = arrival_s + (table.registered_s - whole.registered_s[first][order[:n_jobs]][number])
    by_arrival = np.argsort(arrival_s, kind="stable")
    place_of = np.empty(len(table), np.int64)
    place_of[by_arrival] = np.arange(len(table))
    entry = random.integers(0, len(cluster), n_jobs)[number]
    if arrivals.entry == "task":
        entry = random.integers(0, len(cluster), len(table))
    parents: tuple[tuple[int, ...], ...] = ()
    if arrivals.dependencies:
        parents = tuple(tuple(int(place_of[each]) for each in table.parents[task]) for task in by_arrival.tolist())
    return Workload(
        arrival_s=arrival_s[by_arrival],
        work_s=work_s[by_arrival],
        cpu=cpu[by_arrival],
        memory=memory[by_arrival],
        entry=entry[by_arrival],
        predicted_s=tasks.predicted_s[mask][by_arrival],
        job=number[by_arrival],
        kind=np.zeros(len(table), np.int64),
        parents=parents,
        name=_names(table)[by_arrival],
    )
