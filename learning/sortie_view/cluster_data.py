"""What is known of a live cluster's run that is over, as arrays for plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_view.run_data import RunData, common_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_view.recording import Recording

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
    """One recorded run: T ticks, N nodes.

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
        tasks=recording.scene.task_runs,
    )
