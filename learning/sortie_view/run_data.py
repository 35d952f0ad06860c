"""What is known of a run that is over, as arrays for plots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_view.cluster_data import ClusterData, cluster_data
from sortie_view.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from sortie_core.config import Config


@dataclass(frozen=True)
class MissionData:
    """One recorded mission: T ticks, N drones, M consumers, R resources.

    Attributes:
        name: of the run, unique among those reported together.
        config: of the run.
        summary: the figures of summary.json; empty where there is none.
        time_s: [T].
        position: [T, N, 3] m.
        alive: [T, N].
        stock: [T, N, R].
        unmet: [T, M, R].
        choice: [T, N] the consumer agreed on, -1 for none.
        consumer_position: [M, 2] m.
        delivered: [T] share of the demand.
        messages_per_s, bytes_per_s: [T].
        separation_m: [T].
        shielded: [T] setpoints that the safety gate has changed so far.
        reward: [T] by term, of each tick.
        faults: time_s, kind, drone, text.
    """

    name: str
    config: Config
    summary: dict[str, Any]
    time_s: NDArray[np.float64]
    position: NDArray[np.float64]
    alive: NDArray[np.bool_]
    stock: NDArray[np.float64]
    unmet: NDArray[np.float64]
    choice: NDArray[np.int_]
    consumer_position: NDArray[np.float64]
    delivered: NDArray[np.float64]
    messages_per_s: NDArray[np.float64]
    bytes_per_s: NDArray[np.float64]
    separation_m: NDArray[np.float64]
    shielded: NDArray[np.int_]
    reward: dict[str, NDArray[np.float64]]
    faults: list[dict[str, Any]]

    @property
    def subteam_sizes(self) -> NDArray[np.int_]:
        """[T, M] how many living drones have chosen each consumer."""
        n_consumers = len(self.consumer_position)
        chosen = self.choice[:, :, None] == np.arange(n_consumers)
        sizes: NDArray[np.int_] = (chosen & self.alive[:, :, None]).sum(axis=1)
        return sizes


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
    file = recording.path.parent / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    is_cluster = recording.snapshot(len(recording) - 1)["kind"] == "cluster"
    return (cluster_data if is_cluster else _mission_data)(recording, name, summary)


def _mission_data(recording: Recording, name: str, summary: dict[str, Any]) -> MissionData:
    ticks = [each for each in map(recording.snapshot, range(len(recording))) if "drones" in each]
    nowhere: dict[str, list[float]] = {"x": [], "y": []}
    placed = next((each["consumers"] for each in ticks if "consumers" in each), nowhere)
    drones = [each["drones"] for each in ticks]
    history = {name: np.array(column, float) for name, column in recording.scene.history().items()}
    time_s = np.array([each["time_s"] for each in ticks])
    terms = list(ticks[-1]["reward"])
    return MissionData(
        name=name,
        config=recording.config,
        summary=summary,
        time_s=time_s,
        position=np.array([[each[axis] for axis in "xyz"] for each in drones]).transpose(0, 2, 1),
        alive=np.array([each["alive"] for each in drones], bool),
        stock=np.array([each["stock"] for each in drones]),
        unmet=np.array([each["unmet"] for each in ticks]),
        choice=np.array([each["choice"] for each in drones]),
        consumer_position=np.stack([placed["x"], placed["y"]], axis=-1),
        delivered=np.array([each["delivered"] for each in ticks]),
        messages_per_s=np.array([each["rates"]["messages_per_s"] for each in ticks]),
        bytes_per_s=np.array([each["rates"]["bytes_per_s"] for each in ticks]),
        separation_m=np.interp(time_s, history["time_s"], history["separation_m"]),
        shielded=np.array([each["shielded"] for each in ticks]),
        reward={term: np.array([each["reward"].get(term, 0.0) for each in ticks]) for term in terms},
        faults=recording.scene.snapshot()["faults"],
    )
