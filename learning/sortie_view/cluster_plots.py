"""Plots of live clusters' runs, each drawn into axes that are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sortie_view.cluster_data import ClusterData

_COLOURS = 10
_RESOURCES = ("CPU", "memory")


def gantt(axes: Axes, run: ClusterData) -> None:
    """Which node ran which tasks when, those beside each other on tracks of their own; black: cut short."""
    n_nodes, until_s = run.waiting.shape[1], max((task[3] or task[2] for task in run.tasks), default=1.0)
    for node in range(n_nodes):
        free: list[float] = []
        placed = []
        for task, _, began_s, ended_s, lost in sorted((each for each in run.tasks if each[1] == node), key=_began):
            ended_s = until_s if ended_s is None else ended_s
            track = next((k for k, free_s in enumerate(free) if free_s <= began_s), len(free))
            free[track : track + 1] = [ended_s]
            placed.append((track, began_s, ended_s - began_s, "black" if lost else f"C{task % _COLOURS}"))
        height = 0.9 / max(1, len(free))
        for track, began_s, span_s, colour in placed:
            axes.broken_barh([(began_s, span_s)], (node - 0.45 + track * height, 0.9 * height), color=colour)
    axes.set(xlabel="s of the trace", ylabel="node", ylim=(n_nodes - 0.5, -0.5), title="tasks; black: cut short")


def queues(axes: Axes, run: ClusterData) -> None:
    """How many tasks wait at each node."""
    axes.stackplot(run.time_s, run.waiting.T, labels=[f"node {n}" for n in range(run.waiting.shape[1])])
    axes.set(xlabel="mission time, s", ylabel="tasks that wait", ylim=(0, None), title="queues, one upon the other")
    if run.waiting.shape[1] <= _COLOURS:
        axes.legend(fontsize="small")


def use(axes: Axes, run: ClusterData) -> None:
    """How much of all nodes' CPU and memory is taken; the fainter, the node that is used most and least."""
    for kind, name in enumerate(_RESOURCES):
        taken = run.used[:, :, kind]
        axes.plot(run.time_s, taken.mean(axis=1), label=f"{name}, mean of all nodes", color=f"C{kind}")
        axes.fill_between(run.time_s, taken.min(axis=1), taken.max(axis=1), color=f"C{kind}", alpha=0.15, linewidth=0)
    axes.set(xlabel="mission time, s", ylabel="share taken", ylim=(0, 1.02), title="use; shaded: from node to node")
    axes.legend(fontsize="small")


def _began(task: list[Any]) -> float:
    began_s: float = task[2]
    return began_s
