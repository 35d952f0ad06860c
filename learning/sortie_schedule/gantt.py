"""What ran where and when: a chart of a run's beginning."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sortie_cluster.schedule import Schedule

_COLOURS = 10


def draw_gantt(log: Schedule, until_s: float, title: str) -> bytes:
    """A PNG: a lane per node and core, a bar per task, coloured by job; below, how many tasks wait.

    Args:
        log: the run.
        until_s: how much of it is shown, s.
        title: above the chart.
    """
    until_s = min(until_s, max(log.end_s, 1e-9))
    n_nodes = len(log.cluster)
    figure = Figure(figsize=(12, 2.5 + 0.28 * n_nodes), layout="constrained")
    lanes, waiting = figure.subplots(2, 1, sharex=True, height_ratios=[max(n_nodes, 4), 4])
    begin, node = np.array(log.begin_s), np.array(log.node)
    shown = np.flatnonzero((node >= 0) & (begin < until_s))
    for each in range(n_nodes):
        _draw_node(lanes, log, each, shown[node[shown] == each], until_s)
    for lost in log.lost:
        if lost.began_s < until_s:
            lanes.broken_barh([(lost.began_s, lost.at_s - lost.began_s)], (lost.node + 0.1, 0.8), color="black")
    lanes.set_ylim(0, n_nodes)
    lanes.set_yticks(np.arange(n_nodes) + 0.5, [f"{each}" for each in range(n_nodes)], fontsize=7)
    lanes.set_ylabel("node (height of a bar: its share of the cores)")
    lanes.set_title(title)
    ready = np.array(log.ready_s)
    times = np.linspace(0.0, until_s, 500)
    came, went = np.sort(ready[~np.isnan(ready)]), np.sort(begin[~np.isnan(begin)])
    count = np.searchsorted(came, times, side="right") - np.searchsorted(went, times, side="right")
    waiting.fill_between(times, count, step="post", alpha=0.5)
    waiting.set_ylabel("tasks waiting")
    waiting.set_xlabel("time, s")
    waiting.set_xlim(0, until_s)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=90)
    return data.getvalue()


def _draw_node(lanes: Axes, log: Schedule, node: int, tasks: np.ndarray, until_s: float) -> None:
    """Bars side by side, each at the lowest place that is free while it runs."""
    cores = float(log.cluster.cpu[node])
    placed: list[tuple[float, float, float]] = []  # bottom, top, until
    for task in tasks[np.argsort(np.array(log.begin_s)[tasks], kind="stable")]:
        begin_s, end_s = log.begin_s[task], log.end_s_of[task]
        end_s = until_s if end_s != end_s else min(end_s, until_s)
        height = float(log.workload.cpu[task]) / cores
        placed = [each for each in placed if each[2] > begin_s + 1e-9]
        bottom = 0.0
        for low, high, _ in sorted(placed):
            if bottom + height <= low + 1e-9:
                break
            bottom = max(bottom, high)
        placed.append((bottom, bottom + height, end_s))
        colour = f"C{int(log.workload.job[task]) % _COLOURS}"
        lanes.broken_barh(
            [(begin_s, end_s - begin_s)], (node + 0.05 + 0.9 * bottom, 0.9 * height * 0.95), facecolors=colour
        )
