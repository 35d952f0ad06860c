"""Recorded runs of any kind, read back for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_view.cluster_data import ClusterData, cluster_data
from sortie_view.mission_data import MissionData, mission_data
from sortie_view.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def load_run(path: Path, name: str, progress: Callable[[float], object] = lambda _: None) -> MissionData | ClusterData:
    """A recorded mission, or a recorded run of a live cluster.

    Args:
        path: MCAP file, or the folder of a run.
        name: for people.
        progress: called with the share read so far.

    Raises:
        UserError: as `Recording`.
    """
    recording = Recording(path, progress)
    is_cluster = recording.snapshot(len(recording) - 1)["kind"] == "cluster"
    return (cluster_data if is_cluster else mission_data)(recording, name)
