"""What is known of a recorded mission that is over, as arrays for plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sortie_view.run_data import RunData, common_fields
from sortie_view.scene import least_separation_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_view.recording import Recording


@dataclass(frozen=True)
class MissionData(RunData):
    """One recorded mission: T ticks, N drones, M consumers, R resources.

    Attributes:
        position: [T, N, 3] m.
        alive: [T, N].
        unmet: [T, M, R].
        choice: [T, N] the consumer agreed on, -1 for none.
        consumer_position: [M, 2] m.
        separation_m: [T] least distance between two living drones; NaN where there are less than two.
        shielded: [T] setpoints that the safety gate has changed so far.
        reward: [T] by term, of each tick.
    """

    position: NDArray[np.float64]
    alive: NDArray[np.bool_]
    unmet: NDArray[np.float64]
    choice: NDArray[np.int_]
    consumer_position: NDArray[np.float64]
    separation_m: NDArray[np.float64]
    shielded: NDArray[np.int_]
    reward: dict[str, NDArray[np.float64]]


def mission_data(recording: Recording, name: str) -> MissionData:
    """A mission from its recording."""
    ticks = [each for each in map(recording.snapshot, range(len(recording))) if "drones" in each]
    nowhere: dict[str, list[float]] = {"x": [], "y": []}
    placed = next((each["consumers"] for each in ticks if "consumers" in each), nowhere)
    drones = [each["drones"] for each in ticks]
    position = np.array([[each[axis] for axis in "xyz"] for each in drones]).transpose(0, 2, 1)
    alive = np.array([each["alive"] for each in drones], bool)
    return MissionData(
        **common_fields(recording, ticks, name),
        position=position,
        alive=alive,
        unmet=np.array([each["unmet"] for each in ticks]),
        choice=np.array([each["choice"] for each in drones]),
        consumer_position=np.stack([placed["x"], placed["y"]], axis=-1),
        separation_m=np.array([least_separation_m(*each) for each in zip(position, alive, strict=True)]),
        shielded=np.array([each["shielded"] for each in ticks]),
        reward={term: np.array([each["reward"].get(term, 0.0) for each in ticks]) for term in ticks[-1]["reward"]},
    )
