"""How many task events a second the cluster world processes, on one core."""

from __future__ import annotations

import time
from typing import Any

from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.config import ClusterConfig
from sortie_cluster.rules import rule
from sortie_cluster.scenario import make_scenario
from sortie_core.config import load
from sortie_core.shipped import shipped

_CONFIG = shipped("configs/cluster.yaml")
_RULES = ("fifo", "jsq_neighbours", "jsq_neighbours+steal", "rec")


def run(seconds: float) -> dict[str, Any]:
    """Run whole workloads under several rules, again and again.

    An event is an arrival, a hand-over, a start or an end of a task; all that the rule does about it is included.

    Returns:
        events_per_s, that of the slowest rule, and ``rows``, one per rule.
    """
    cluster, workload, _ = make_scenario(load(ClusterConfig, _CONFIG), 0)
    rows: list[dict[str, Any]] = [
        {"rule": name, **_speed(cluster, workload, name, seconds / len(_RULES))} for name in _RULES
    ]
    return {"events_per_s": min(row["events_per_s"] for row in rows), "rows": rows}


def _speed(cluster: Any, workload: Any, name: str, seconds: float) -> dict[str, float]:
    events, spent_s = 0, 0.0
    while spent_s < seconds:
        world = ClusterWorld(cluster, workload, rule(name))
        began_s = time.process_time()  # of this process, whoever else uses the core
        world.run()
        spent_s += time.process_time() - began_s
        events += world.n_events
    return {"events_per_s": events / spent_s, "tasks_per_s": events / spent_s * len(workload) / world.n_events}
