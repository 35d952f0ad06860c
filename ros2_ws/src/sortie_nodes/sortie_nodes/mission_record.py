"""What is written down of a mission: its trajectory, its faults, its figures."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from sortie_interfaces.msg import Fault

from sortie_core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sortie_interfaces.msg import AgentReport, RadioStatistics, WorldStatus

    from sortie_core.config import Config

_SHARES = (50, 95, 99)


class MissionRecord:
    """Collects what the manager hears of one mission.

    Args:
        config: of the mission.
        seed: of its layout.
        lost: faults of drones that were lost before it.
    """

    def __init__(self, config: Config, seed: int, lost: Iterable[Fault] = ()) -> None:
        """Start empty but for `lost`."""
        self.config, self.seed = config, seed
        self.status: WorldStatus | None = None
        self.radio: RadioStatistics | None = None
        self.faults: list[tuple[float, Fault]] = [(0.0, fault) for fault in lost]
        self.reports: dict[int, AgentReport] = {}
        self.interventions: dict[str, int] = {}
        self.setpoints = 0
        self.flight: dict[str, Any] = {}
        self.consumer_position = np.zeros((0, 3))
        self._rows: list[tuple[Any, ...]] = []

    def successor(self, seed: int) -> MissionRecord:
        """The record of the next mission; drones whose processes are gone stay lost."""
        return MissionRecord(self.config, seed, [f for _, f in self.faults if f.lost and f.kind != Fault.FAILED])

    @property
    def time_s(self) -> float:
        """Mission time of the last tick heard of, s."""
        return 0.0 if self.status is None else self.status.tick * self.config.world.dt_s

    @property
    def lost(self) -> set[int]:
        """Drones that take no further part."""
        return {fault.drone for _, fault in self.faults if fault.lost}

    def add_status(self, status: WorldStatus) -> None:
        """A tick of the world."""
        self.status = status
        self._rows.append(
            (
                status.tick * self.config.world.dt_s,
                np.reshape(status.position, (-1, 3)),
                np.reshape(status.stock, (-1, self.config.task.n_resources)),
                np.reshape(status.unmet, (-1, self.config.task.n_resources)),
                np.array(status.alive, bool),
                status.delivered_fraction,
            )
        )

    def add_fault(self, fault: Fault) -> None:
        """A fault; that a drone is lost is recorded once, with the first reason given."""
        if not (fault.lost and fault.drone in self.lost):
            self.faults.append((self.time_s, fault))

    def summary(self) -> dict[str, Any]:
        """The figures of the mission, ready for JSON."""
        task, radio = self.config.task, self.radio
        figures = json.loads(self.status.metrics) if self.status and self.status.metrics else {}
        rates = [report.contraction_rate for report in self.reports.values() if np.isfinite(report.contraction_rate)]
        wanted = self.config.ros.success_fraction * figures.get("deliverable_fraction", 1.0)
        return {
            "success": figures.get("delivered_fraction", 0.0) >= wanted,
            "seed": self.seed,
            "config_hash": self.config.hash(),
            "n_agents": self.config.team.n_agents,
            "n_consumers": task.n_consumers,
            "n_resources": task.n_resources,
            **figures,
            "messages_sent": radio.messages_sent if radio else 0,
            "messages_delivered": radio.messages_delivered if radio else 0,
            "messages_lost": radio.messages_lost if radio else 0,
            "messages_refused": radio.messages_refused if radio else 0,
            "messages_late": radio.messages_late if radio else 0,
            "bytes_sent": radio.bytes_sent if radio else 0,
            "contraction_rate": min(rates, default=None),
            "agent_tick_ms": _percentiles(report.compute for report in self.reports.values()),
            "agent_tick_cpu_ms": _percentiles(report.cpu for report in self.reports.values()),
            "agent_ticks_abandoned": sum(report.ticks_abandoned for report in self.reports.values()),
            "safety_interventions": self.interventions,
            "setpoints": self.setpoints,
            "shielded_share": round(self.interventions.get("separation", 0) / max(self.setpoints, 1), 6),
            **({"flight": self.flight} if self.flight else {}),
            "faults": [
                {"time_s": round(time_s, 9), "kind": fault.kind, "drone": fault.drone, "text": fault.text}
                for time_s, fault in self.faults
            ],
        }

    def write(self, folder: Path, summary: dict[str, Any]) -> None:
        """Write `trajectory.npz` and then `summary.json`, each whole or not at all.

        The trajectory holds time_s [T], position [T, N, 3] m, stock [T, N, R], unmet [T, M, R], alive [T, N],
        delivered_fraction [T] and consumer_position [M, 3] m.
        """
        names = ("time_s", "position", "stock", "unmet", "alive", "delivered_fraction")
        columns: dict[str, Any] = {
            name: np.array(column) for name, column in zip(names, zip(*self._rows, strict=True), strict=False)
        }
        content = io.BytesIO()
        np.savez_compressed(content, **columns, consumer_position=self.consumer_position)
        write_atomically(folder / "trajectory.npz", content.getvalue())
        write_atomically(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _percentiles(samples_s: Iterable[Iterable[float]]) -> dict[str, float | None]:
    """Of all agents' ticks together, ms."""
    pooled = np.concatenate([np.zeros(0), *(np.asarray(each, float) for each in samples_s)])
    if not pooled.size:
        return {f"p{share}": None for share in _SHARES}
    values = 1e3 * np.percentile(pooled, _SHARES)
    return {f"p{share}": round(float(value), 3) for share, value in zip(_SHARES, values, strict=True)}
