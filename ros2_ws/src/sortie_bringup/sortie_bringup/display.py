"""What the runner shows: a line that lives during the mission, a table after it, and a plot."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from sortie_core.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from sortie_bringup.mission_observer import MissionObserver
    from sortie_core.config import Config

_ROWS = (
    ("delivered", "delivered_fraction", "{:.1%}"),
    ("the stock allows", "deliverable_fraction", "{:.1%}"),
    ("delivered, average over time", "delivered_auc", "{:.3f}"),
    ("time to 90 %", "time_to_90_s", "{:.1f} s"),
    ("mission time", "mission_time_s", "{:.1f} s"),
    ("real-time factor", "real_time_factor", "{:.2f}"),
    ("late ticks", "late_ticks", "{:.0f}"),
    ("agents' ticks cut short by the next", "agent_ticks_abandoned", "{:,}"),
    ("collisions", "collisions", "{:.0f}"),
    ("least separation", "min_separation_m", "{:.2f} m"),
    ("setpoints that the shield changed", "shielded_share", "{:.1%}"),
    ("packets sent", "messages_sent", "{:,}"),
    ("packets delivered", "messages_delivered", "{:,}"),
    ("bytes sent", "bytes_sent", "{:,}"),
    ("contraction rate", "contraction_rate", "{:.3f} 1/s"),
)


class LiveLine:
    """Demand met, mission time, packets and faults while the mission flies; silent where nobody looks.

    Args:
        console: where to.
        duration_s: of the mission at most.
        quiet: show nothing.
        doing: what the team does, and what has become of the share that is shown.
    """

    def __init__(
        self, console: Console, duration_s: float, *, quiet: bool, doing: tuple[str, str] = ("flying", "delivered")
    ) -> None:
        """Start the line."""
        self._duration_s, self._doing = duration_s, doing[0]
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(30),
            TextColumn(f"{{task.percentage:>5.1f}} % {doing[1]}  {{task.fields[figures]}}"),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=1.0, figures="")

    def __enter__(self) -> LiveLine:
        """Show it."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._progress.stop()

    def make_observer(self) -> MissionObserver:
        """What it looks through."""
        from sortie_bringup.mission_observer import MissionObserver

        return MissionObserver()

    def interrupted(self, observer: MissionObserver) -> bool:
        """Ctrl-C: nothing has to be done before the end."""
        return False

    def update(self, observer: MissionObserver) -> None:
        """Show the newest that is known."""
        if observer.status is None:
            return
        stamp, packets = observer.status.header.stamp, observer.radio.messages_sent if observer.radio else 0
        figures = (
            f"{stamp.sec + stamp.nanosec * 1e-9:5.1f} / {self._duration_s:g} s  "
            f"{packets:,} packets  {len(observer.faults)} faults"
        )
        self._progress.update(
            self._task, description=self._doing, completed=observer.status.delivered_fraction, figures=figures
        )


def outcome_table(summary: dict[str, Any], *, success: bool) -> Table:
    """The figures of a mission for people."""
    table = Table(title=f"mission {'succeeded' if success else 'failed'}", show_header=False, title_justify="left")
    for title, key, form in _ROWS:
        value = summary.get(key)
        table.add_row(title, "-" if value is None else form.format(value))
    tick_ms = summary["agent_tick_ms"]
    if tick_ms["p50"] is not None:
        table.add_row(
            "agent's tick p50 / p95 / p99", " / ".join(f"{tick_ms[p]:.1f}" for p in ("p50", "p95", "p99")) + " ms"
        )
    if flight := summary.get("flight"):
        period, late = (flight.get(f"setpoint_interval_ms_{share}") or 0.0 for share in ("p50", "p99"))
        table.add_row("setpoints every, p50 / p99", f"{period:.1f} / {late:.1f} ms")
        poses = (flight.get(f"pose_latency_ms_{share}") for share in ("p50", "p99"))
        table.add_row("poses late by, p50 / p99", " / ".join("-" if p is None else f"{p:.1f}" for p in poses) + " ms")
    changed = {key: count for key, count in summary["safety_interventions"].items() if count}
    table.add_row("safety interventions", ", ".join(f"{key} {count}" for key, count in changed.items()) or "none")
    table.add_row("faults", "\n".join(f"{f['time_s']:.1f} s: {f['text']}" for f in summary["faults"]) or "none")
    return table


def draw(folder: Path, config: Config) -> Path:
    """Plot the trajectories and the demand over time from `trajectory.npz`; returns `mission.png`."""
    from matplotlib.figure import Figure

    from sortie_view import plots

    with np.load(folder / "trajectory.npz") as file:
        record = dict(file)
    figure = Figure(figsize=(11, 5), layout="constrained")
    plan, demand = figure.subplots(1, 2)
    radius_m = config.task.service_radius_m
    plots.trajectories(plan, record["position"], record["alive"], record["consumer_position"], radius_m)
    plots.demand(demand, record["time_s"], record["unmet"], record["delivered_fraction"])
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(folder / "mission.png", picture.getvalue())
    return folder / "mission.png"
