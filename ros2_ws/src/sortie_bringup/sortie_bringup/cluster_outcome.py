"""What came of a live cluster run, beside what the cluster world predicts of the same agents on the same tasks."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from sortie_bridge.cluster_run import rehearse
from sortie_bridge.outcome import schedule_of
from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.metrics import metrics
from sortie_cluster.schedule_rows import node_rows, task_rows
from sortie_core.csv_rows import as_csv
from sortie_core.files import write_atomically
from sortie_policy.cluster_checkpoint import load_cluster_policy
from sortie_policy.lgtc_scheduler import LGTCScheduler

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_cluster.live_config import LiveConfig

POLICY = "lgtc"
_ROWS = (
    ("completion mean, s", "completion_mean_s", "{:.2f}"),
    ("completion p95, s", "completion_p95_s", "{:.2f}"),
    ("waiting mean, s", "waiting_mean_s", "{:.2f}"),
    ("makespan, s", "makespan_s", "{:.1f}"),
    ("throughput, tasks/h", "throughput_per_h", "{:.0f}"),
    ("CPU utilisation", "utilisation_cpu", "{:.1%}"),
    ("memory utilisation", "utilisation_memory", "{:.1%}"),
    ("tasks completed", "completed", "{:.0f}"),
    ("dropped", "dropped", "{:.0f}"),
    ("backlog", "backlog", "{:.0f}"),
    ("reruns after a failure", "reruns", "{:.0f}"),
)
_GAP = ("completion_mean_s", "completion_p95_s", "waiting_mean_s", "makespan_s", "throughput_per_h", "utilisation_cpu",
        "utilisation_memory")  # fmt: skip
_FIGURES = (*(key for _, key, _ in _ROWS), "completion_p50_s", "completion_p99_s", "slowdown_mean", "jain",
            "load_variation", "hops_mean")  # fmt: skip


def prediction(config: LiveConfig) -> dict[str, Any]:
    """Figures of the same agents in the cluster world, where reports come once a tick and work lasts as it should."""
    cluster, workload, _ = config.scenario
    scheduler = LGTCScheduler(
        load_cluster_policy(config.agents.checkpoint), config.agents.hops, config.agents.tick_s, config.agents.claims
    )
    world = ClusterWorld(
        cluster,
        workload,
        scheduler,
        config.heard,
        max_hops=config.agents.max_hops,
        failures=config.failures,
        seed=config.seed,
    )
    return metrics(world.run(config.live.duration_s), config.arrivals.warm_up)


def compared(summary: dict[str, Any], config: LiveConfig) -> dict[str, Any]:
    """The run, and what was predicted.

    Returns:
        rows: policy, run, seed and figures, where run is the backend, "rehearsed" (the graph in lockstep, simulated),
        or "predicted" (the cluster world); gap_percent: by how much the first exceeds each of the others; too_large:
        tasks that were left out, in words; and of the run violations, faults, and the agents' ticks.
    """
    rehearsed = metrics(rehearse(config), config.arrivals.warm_up)
    runs = ((config.live.backend, summary), ("rehearsed", rehearsed), ("predicted", prediction(config)))
    rows: list[dict[str, Any]] = [
        {"policy": POLICY, "run": run, "seed": config.seed} | {key: _plain(of.get(key)) for key in _FIGURES}
        for run, of in runs
    ]
    told = ("success", "violations", "faults", "late_ticks", "wall_time_s", "agent_tick_ms", "agent_ticks_abandoned",
            "messages_sent", "messages_delivered", "bytes_sent", "contraction_rate")  # fmt: skip
    gap = {row["run"]: {key: _gap(rows[0][key], row[key]) for key in _GAP} for row in rows[1:]}
    found = {"rows": rows, "gap_percent": gap, "too_large": config.scenario.too_large}
    return found | {key: summary.get(key) for key in told}


def _gap(measured: float | None, expected: float | None) -> float | None:
    if measured is None or not expected:
        return None
    return round(100 * (measured / expected - 1), 2)


def _plain(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value if value == value else None


def outcome_table(report: dict[str, Any], *, success: bool) -> Table:
    """The figures for people."""
    rows = report["rows"]
    measured = rows[0]
    title = f"run {'succeeded' if success else 'failed'}: {measured['policy']} agents, seed {measured['seed']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", measured["run"], "rehearsed", "gap", "predicted", "gap"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, key, form in _ROWS:
        cells = ["-" if row[key] is None else form.format(row[key]) for row in rows]
        gaps = [report["gap_percent"][row["run"]].get(key) for row in rows[1:]]
        shown = ["" if gap is None else f"{gap:+.1f} %" for gap in gaps]
        table.add_row(name, cells[0], cells[1], shown[0], cells[2], shown[1])
    return table


def remarks(report: dict[str, Any]) -> list[str]:
    """What the table does not say, in lines."""
    tick_ms = report["agent_tick_ms"]
    ticks = " / ".join("-" if tick_ms[share] is None else f"{tick_ms[share]:.1f}" for share in ("p50", "p95", "p99"))
    lines = [
        f"agent's tick p50 / p95 / p99: {ticks} ms; {report['late_ticks']} late ticks; "
        f"{report['messages_sent']} packets, {report['bytes_sent']} bytes",
        f"schedule: {report['violations'][0] if report['violations'] else 'feasible'}",
    ]
    lines += [report["too_large"]] if report["too_large"] else []
    return lines + [f"fault at {fault['time_s']:.1f} s: {fault['text']}" for fault in report["faults"]]


def write_tables(folder: Path, summary: dict[str, Any], report: dict[str, Any], config: LiveConfig) -> None:
    """Write `report.json`, `tasks.csv` (a line for each task) and `nodes.csv` (a line for each node)."""
    log = schedule_of(summary["schedule"], config)
    write_atomically(folder / "tasks.csv", as_csv(task_rows(log)))
    write_atomically(folder / "nodes.csv", as_csv(node_rows(log)))
    write_atomically(folder / "report.json", json.dumps(report, indent=2) + "\n")
