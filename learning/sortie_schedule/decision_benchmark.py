"""How long a cluster of 100 LGTC agents in one process takes to decide about a task."""

from __future__ import annotations

from typing import Any

import numpy as np

from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.config import ClusterConfig
from sortie_cluster.scenario import make_scenario
from sortie_core.config import load
from sortie_core.shipped import shipped
from sortie_schedule.schedulers import LGTC, scheduler

_CONFIG = shipped("configs/cluster.yaml")
_NODES = ["cluster.n_nodes=100", "arrivals.n_tasks=6000"]
_SETTINGS = {
    "fresh state": [],
    "state 30 s old": ["reports.period_s=2", "reports.delay_s=30"],
}


def run(_seconds: float) -> dict[str, Any]:
    """Schedule 6,000 tasks on 100 nodes.

    The time is that from a task's arrival until it is placed and has perhaps begun to run: all hand-overs on its way,
    the claims that it causes, and now and then the tick of all agents that falls due.

    Returns:
        decision_ms_p99, the larger of both settings, and ``rows``, one per setting.
    """
    rows: list[dict[str, Any]] = []
    for name, overrides in _SETTINGS.items():
        config = load(ClusterConfig, _CONFIG, [*_NODES, *overrides])
        cluster, workload, _ = make_scenario(config, 0)
        agents = scheduler(LGTC, config, config.comparison.train_seeds[0])
        world = ClusterWorld(cluster, workload, agents, config.heard, timed=True)
        world.run()
        p50, p95, p99 = (1e3 * float(each) for each in np.percentile(world.decision_s, (50, 95, 99)))
        rows.append({"setting": name, "decision_ms_p50": p50, "decision_ms_p95": p95, "decision_ms_p99": p99})
    return {"decision_ms_p99": max(row["decision_ms_p99"] for row in rows), "rows": rows}
