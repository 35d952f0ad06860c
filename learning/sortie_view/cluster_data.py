"""What is known of a live cluster's run that is over, as arrays, and its plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_view.run_data import RunData, common_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sortie_view.recording import Recording

_COLOURS = 10
_RESOURCES = ("CPU", "memory")
FIGURES = (
    ("tasks", "tasks", "{:,}"),
    ("ended", "delivered_fraction", "{:.1%}"),
    ("completion mean, s of the trace", "completion_mean_s", "{:.2f}"),
    ("completion p95, s", "completion_p95_s", "{:.2f}"),
    ("waiting mean, s", "waiting_mean_s", "{:.2f}"),
    ("makespan, s", "makespan_s", "{:.1f}"),
    ("CPU utilisation", "utilisation_cpu", "{:.1%}"),
    ("memory utilisation", "utilisation_memory", "{:.1%}"),
    ("reruns after a failure", "reruns", "{:,}"),
    ("packets sent", "messages_sent", "{:,}"),
    ("bytes sent", "bytes_sent", "{:,}"),
    ("seed", "seed", "{}"),
    ("nodes", "n_agents", "{}"),
)
"""Title, key of summary.json and form of what the table shows."""


@dataclass(frozen=True)
class ClusterData(RunData):
    """One recorded run: T ticks, N nodes; times are s of wall clock since its beginning, but those of tasks.

    Attributes:
        waiting: [T, N] tasks in the queue of each node.
        used: [T, N, 2] share of its CPU and of its memory that is taken.
        tasks: task, node, began and ended in s of the trace (None while it runs), and whether it was lost.
    """

    waiting: NDArray[np.int_]
    used: NDArray[np.float64]
    tasks: list[list[Any]]


def cluster_data(recording: Recording, name: str) -> ClusterData:
    """A cluster's run from its recording."""
    snapshots = map(recording.snapshot, range(len(recording)))
    ticks = [each for each in snapshots if "drones" in each and "consumers" in each]
    last = recording.scene.snapshot()
    return ClusterData(
        **common_fields(recording, ticks, name),
        waiting=np.array([each["consumers"]["tasks"] for each in ticks]),
        used=1.0 - np.array([each["drones"]["stock"] for each in ticks]) / np.array(last["facts"]["capacity"]),
        tasks=last["runs"],
    )


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
    axes.set(xlabel="wall clock, s", ylabel="tasks that wait", ylim=(0, None), title="queues, one upon the other")
    if run.waiting.shape[1] <= _COLOURS:
        axes.legend(fontsize="small")


def use(axes: Axes, run: ClusterData) -> None:
    """How much of all nodes' CPU and memory is taken; the fainter, the node that is used most and least."""
    for kind, name in enumerate(_RESOURCES):
        taken = run.used[:, :, kind]
        axes.plot(run.time_s, taken.mean(axis=1), label=f"{name}, mean of all nodes", color=f"C{kind}")
        axes.fill_between(run.time_s, taken.min(axis=1), taken.max(axis=1), color=f"C{kind}", alpha=0.15, linewidth=0)
    axes.set(xlabel="wall clock, s", ylabel="share taken", ylim=(0, 1.02), title="use; shaded: from node to node")
    axes.legend(fontsize="small")


def ended(axes: Axes, runs: Sequence[ClusterData]) -> None:
    """The share of the tasks that have ended, of one or more runs."""
    for run in runs:
        axes.plot(run.time_s, run.delivered, label=run.name)
    axes.set(xlabel="wall clock, s", ylabel="share of the tasks", ylim=(0, 1.02), title="tasks that have ended")
    axes.legend(fontsize="small")


def _began(task: list[Any]) -> float:
    began_s: float = task[2]
    return began_s
