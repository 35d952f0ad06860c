"""Figures of a run: what users of schedulers compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sortie_cluster.schedule import Schedule

PERCENTILES = (50, 95, 99)


def metrics(schedule: Schedule, warm_up: float) -> dict[str, Any]:
    """Figures of a run, without its first tasks.

    Args:
        schedule: the run.
        warm_up: share of the tasks (open arrivals) or of the time (closed loop) that does not count.

    Returns:
        completion_mean_s, completion_p50_s, completion_p95_s, completion_p99_s: from ready to end;
        waiting_mean_s: from ready to begin;
        slowdown_mean: completion over what the task would take alone on a node of speed 1, at least 1 s of either
        (bounded slowdown; Feitelson 1997);
        makespan_s: from the first arrival to the last end;
        throughput_per_h: tasks ended per hour, over the time that counts;
        utilisation_cpu, utilisation_memory: time-weighted share of what the cluster has;
        load_variation: coefficient of variation of the nodes' CPU utilisations;
        jain: Jain's index of the same, 1 where all are alike;
        completed, dropped, backlog, reruns: tasks; the backlog are those that arrived and have not ended;
        hops_mean: how often a task changed its node.
    """
    workload = schedule.workload
    ready, begin, end = (np.array(each) for each in (schedule.ready_s, schedule.begin_s, schedule.end_s_of))
    ended, dropped = ~np.isnan(end), np.array(schedule.dropped)
    since_s, until_s = _window(schedule, ready, warm_up)
    if workload.closed:
        counted = ended & (end > since_s)
    else:
        counted = ended & (np.arange(len(workload)) >= warm_up * len(workload))
    completion = (end - ready)[counted]
    figures: dict[str, Any] = {"completion_mean_s": _mean(completion)}
    for share in PERCENTILES:
        figures[f"completion_p{share}_s"] = float(np.percentile(completion, share)) if counted.any() else float("nan")
    alone = np.maximum(workload.work_s[counted], 1.0)
    inside = ended & (end > since_s) & (end <= until_s)
    use_cpu, use_memory = (_use(schedule, need, since_s, until_s) for need in (workload.cpu, workload.memory))
    by_node = use_cpu / schedule.cluster.cpu
    total_memory = float(schedule.cluster.memory.sum())
    return figures | {
        "waiting_mean_s": _mean((begin - ready)[counted]),
        "slowdown_mean": _mean(np.maximum(completion / alone, 1.0)),
        "makespan_s": float(np.nanmax(end) - np.nanmin(ready)) if ended.any() else float("nan"),
        "throughput_per_h": float(inside.sum() / (until_s - since_s) * 3600.0) if until_s > since_s else float("nan"),
        "utilisation_cpu": float(use_cpu.sum() / schedule.cluster.cpu.sum()),
        "utilisation_memory": float(use_memory.sum() / total_memory) if total_memory else 0.0,
        "load_variation": float(by_node.std() / by_node.mean()) if by_node.any() else 0.0,
        "jain": float(by_node.sum() ** 2 / (len(by_node) * (by_node**2).sum())) if by_node.any() else 1.0,
        "completed": int(ended.sum()),
        "dropped": int(dropped.sum()),
        "backlog": int((~np.isnan(ready) & ~ended & ~dropped).sum()),
        "reruns": len(schedule.lost),
        "hops_mean": len(schedule.moves) / max(int((~np.isnan(ready)).sum()), 1),
    }


def _window(schedule: Schedule, ready: np.ndarray, warm_up: float) -> tuple[float, float]:
    """Between when rates are counted; with open arrivals as many of the last tasks are left out as of the first."""
    if schedule.workload.closed:
        return warm_up * schedule.end_s, schedule.end_s
    arrived, last = schedule.workload.arrival_s, len(ready) - 1
    first = min(int(warm_up * len(ready)), last)
    return float(arrived[first]), float(arrived[max(last - first, first)])


def _use(schedule: Schedule, need: np.ndarray, since_s: float, until_s: float) -> np.ndarray:
    """[N] what was occupied on average between two times, runs that a failure cut short included."""
    begin, end = np.array(schedule.begin_s), np.array(schedule.end_s_of)
    begun = ~np.isnan(begin)
    to = np.where(np.isnan(end), schedule.end_s, end)
    held = np.clip(to, since_s, until_s) - np.clip(begin, since_s, until_s)
    use = np.bincount(np.array(schedule.node)[begun], (held * need)[begun], minlength=len(schedule.cluster))
    for each in schedule.lost:
        span = min(max(each.at_s, since_s), until_s) - min(max(each.began_s, since_s), until_s)
        use[each.node] += span * need[each.task]
    return use / max(until_s - since_s, 1e-9)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
