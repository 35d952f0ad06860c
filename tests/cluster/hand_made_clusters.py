"""Clusters, workloads and runs that are proved feasible whenever a test makes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_cluster.cluster import Cluster
from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.config import ClusterConfig
from sortie_cluster.validator import validate
from sortie_cluster.workload import Workload
from sortie_core.config import load

if TYPE_CHECKING:
    from sortie_cluster.schedule import Schedule
    from sortie_cluster.scheduler import Scheduler

CONFIG_FILE = Path(__file__).resolve().parents[2] / "configs/cluster.yaml"
FEW = ["trace.n_jobs=2000", "arrivals.n_tasks=200"]
RING = [
    "cluster.topology=ring", "cluster.n_nodes=6", "cluster.cores=[1]", "cluster.memory=[1]", "cluster.speed=[1, 1]",
    "arrivals.mode=closed", "arrivals.whole_slots=true", "trace.duration_s=[1, 17]", "arrivals.duration_s=600",
]  # fmt: skip


def configuration(*overrides: str) -> ClusterConfig:
    """The shipped configuration with few tasks."""
    return load(ClusterConfig, CONFIG_FILE, [*FEW, *overrides])


def workload(work_s: list[float], **others: Any) -> Workload:
    """Hand-made tasks: one core each, no memory, predicted as they are, all arriving at node 0 at time 0."""
    n_tasks = len(work_s)
    parts: dict[str, Any] = {
        "arrival_s": np.zeros(n_tasks),
        "work_s": np.array(work_s, float),
        "cpu": np.ones(n_tasks),
        "memory": np.zeros(n_tasks),
        "entry": np.zeros(n_tasks, int),
        "predicted_s": np.array(work_s, float),
        "job": np.arange(n_tasks),
        "kind": np.zeros(n_tasks, int),
    }
    for name, value in others.items():
        parts[name] = value if name == "parents" else np.array(value)
    return Workload(**parts)


def line(*speeds: float, cores: float = 1.0) -> Cluster:
    """Nodes in a row, each hearing the next on both sides."""
    n_nodes = len(speeds)
    linked = np.abs(np.subtract.outer(np.arange(n_nodes), np.arange(n_nodes))) == 1
    return Cluster(np.full(n_nodes, cores), np.ones(n_nodes), np.array(speeds, float), linked)


def run(
    cluster: Cluster, tasks: Workload, scheduler: Scheduler, *world: Any, until_s: float = np.inf, **options: Any
) -> Schedule:
    """A run that is proved feasible."""
    log = ClusterWorld(cluster, tasks, scheduler, *world, **options).run(until_s)
    validate(log, scheduler.scope)
    return log
