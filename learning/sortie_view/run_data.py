"""What is known of any recorded run that is over, as arrays for plots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sortie_core.config import Config
    from sortie_view.recording import Recording

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RunData:
    """One recorded run: T ticks.

    Attributes:
        name: of the run, unique among those reported together.
        config: of the run.
        summary: the figures of summary.json; empty where there is none.
        time_s: [T] mission time, of a cluster too.
        delivered: [T] share of the demand that is met, or of the tasks that have ended.
        messages_per_s, bytes_per_s: [T].
        faults: time_s, kind, drone, text.
    """

    name: str
    config: Config
    summary: dict[str, Any]
    time_s: Floats
    delivered: Floats
    messages_per_s: Floats
    bytes_per_s: Floats
    faults: list[dict[str, Any]]


def common_fields(recording: Recording, ticks: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """The fields of `RunData`.

    Args:
        recording: of the run, with summary.json beside it or not.
        ticks: its snapshots, those that are used.
        name: for people.
    """
    summary = recording.path.parent / "summary.json"
    return {
        "name": name,
        "config": recording.config,
        "summary": json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {},
        "time_s": np.array([each["time_s"] for each in ticks]),
        "delivered": np.array([each["delivered"] for each in ticks]),
        "messages_per_s": np.array([each["rates"]["messages_per_s"] for each in ticks]),
        "bytes_per_s": np.array([each["rates"]["bytes_per_s"] for each in ticks]),
        "faults": recording.scene.snapshot()["faults"],
    }
