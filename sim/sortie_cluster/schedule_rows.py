"""A schedule as rows: one for each task, one for each node."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sortie_cluster.schedule import Schedule
    from sortie_cluster.workload import Workload


def task_rows(log: Schedule) -> list[dict[str, Any]]:
    """What became of each task that arrived; times in s."""
    workload = log.workload
    moved, lost = Counter(move.task for move in log.moves), Counter(each.task for each in log.lost)
    return [
        {
            "task": task,
            "name": _name(workload, task),
            "job": int(workload.job[task]),
            "cpu": float(workload.cpu[task]),
            "memory": float(workload.memory[task]),
            "work_s": float(workload.work_s[task]),
            "predicted_s": round(float(workload.predicted_s[task]), 3),
            "entry": int(workload.entry[task]),
            "node": log.node[task] if log.node[task] >= 0 else None,
            "ready_s": log.ready_s[task],
            "begin_s": log.begin_s[task],
            "end_s": log.end_s_of[task],
            "hops": moved[task],
            "reruns": lost[task],
            "dropped": log.dropped[task],
        }
        for task in range(len(workload))
        if not np.isnan(log.ready_s[task])
    ]


def _name(workload: Workload, task: int) -> str:
    return str(workload.name[task]) if len(workload.name) else str(task)


def node_rows(log: Schedule) -> list[dict[str, Any]]:
    """What each node did over the whole run."""
    cluster, node = log.cluster, np.array(log.node)
    begin, end = np.array(log.begin_s), np.array(log.end_s_of)
    until = np.where(np.isnan(end), log.end_s, end)
    rows = []
    for each in range(len(cluster)):
        here = node == each
        held = (until - begin)[here]
        span = max(log.end_s, 1e-9)
        rows.append(
            {
                "node": each,
                "cpu": float(cluster.cpu[each]),
                "memory": float(cluster.memory[each]),
                "speed": float(cluster.speed[each]),
                "neighbours": len(cluster.neighbours[each]),
                "tasks": int(here.sum()),
                "arrived": int((log.workload.entry == each).sum()),
                "handed_over": sum(move.source == each and not move.pulled for move in log.moves),
                "taken": sum(move.target == each and move.pulled for move in log.moves),
                "lost": sum(run.node == each for run in log.lost),
                "utilisation_cpu": float((held * log.workload.cpu[here]).sum() / (span * cluster.cpu[each])),
                "utilisation_memory": float((held * log.workload.memory[here]).sum() / (span * cluster.memory[each])),
            }
        )
    return rows
