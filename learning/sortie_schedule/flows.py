"""The comparison of policies on flows of tasks: each on the same networks and the same tasks, against the capacity.

Every run is kept in the folder as it ends, so that what interrupts a comparison loses no more than the runs that are
under way. What comes out: ``rows.json`` and ``rows.csv``, a row per policy and seed; ``table.md``, the means with
intervals; ``curves.png``, throughput over time.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import sortie_cluster
from sortie_cluster.flows import HOP_S, capacity, make_flows, world_of
from sortie_cluster.validator import validate
from sortie_core.config import content_hash
from sortie_core.csv_rows import as_csv
from sortie_core.files import write_atomically
from sortie_schedule import q_learning
from sortie_schedule.kept_runs import Row, Run, run_all
from sortie_schedule.q_learning import flow_policy
from sortie_schedule.summary import Summary
from sortie_train.intervals import Bootstrap
from sortie_train.table import console_for_tables

if TYPE_CHECKING:
    from sortie_cluster.flows_config import FlowsConfig
    from sortie_cluster.schedule import Schedule

CURVE = "curve_per_100"
LEARNED_STEP = 2000
"""Until here the published curves have the instant-optimal policy in front."""
COLUMNS = {
    "throughput_per_100": ("completed per 100 steps", 1),
    "share_of_bound": ("share of the bound", 4),
    "cost_mean": ("cost, s", 1),
    "cost_with_drops_mean": ("cost with drops, s", 1),
    "dropped_per_100": ("dropped per 100 steps", 1),
    "backlog": ("backlog, tasks", 0),
    "hops_mean": ("hand-overs per task", 2),
}
"""Figures of a row that are shown, their headings and digits."""


def run_flows(config: FlowsConfig, folder: Path, jobs: int = 1, json_only: bool = False) -> list[Row]:
    """Compare policies, and write and print what comes out.

    Args:
        config: what is compared, and on what.
        folder: where results go; runs that are kept there are taken over.
        jobs: processes.
        json_only: print {"rows": [...]} instead of the table.

    Returns:
        A row per policy and seed; see `figures`.

    Raises:
        UserError: a policy that does not exist.
    """
    rows = run_all(plan(config, folder), jobs)
    write_atomically(folder / "rows.json", dumps(rows, indent=1) + "\n")
    write_atomically(folder / "rows.csv", as_csv([{key: row[key] for key in row if key != CURVE} for row in rows]))
    summary = summarise(config, rows)
    write_atomically(folder / "table.md", summary.markdown())
    write_atomically(folder / "curves.png", _plot(config, rows))
    if json_only:
        print(dumps({"rows": rows}))
        return rows
    console = console_for_tables()
    console.print(summary.table())
    console.print(f"{folder}: rows.csv, table.md, curves.png")
    return rows


def summarise(config: FlowsConfig, rows: list[Row], title: str = "") -> Summary:
    """The table of a comparison."""
    compared, steps = config.comparison, config.flows.steps
    offered, bound = (float(np.mean([row[key] for row in rows])) for key in ("offered", "bound_per_100"))
    title = (
        f"{title + ': ' if title else ''}{compared.topologies} networks x {steps} steps, mean ± half of its 95 % "
        f"interval; per 100 steps {100 * offered / steps:.1f} tasks are offered, at most {bound:.1f} can be completed"
    )
    return Summary(rows, COLUMNS, compared.bootstrap_samples, title)


def policies(config: FlowsConfig) -> list[str]:
    """The policies that are compared; refuses what cannot be made."""
    for name in config.comparison.policies:
        flow_policy(name, config)
    return list(config.comparison.policies)


def plan(config: FlowsConfig, folder: Path) -> list[Run]:
    """The runs of a comparison."""
    compared = config.comparison
    key = content_hash(config.content() | {"program": _program()})
    return [
        Run(f"{name}, network {seed}", folder / "runs" / f"{name}-{seed}-{key}.json", play, (config, name, seed))
        for seed in range(compared.first_seed, compared.first_seed + compared.topologies)
        for name in policies(config)
    ]


@cache
def _program() -> str:
    """A hash of the worlds and the policies."""
    files = [*Path(next(iter(sortie_cluster.__path__))).glob("*.py"), Path(__file__), Path(q_learning.__file__)]
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in sorted(files))).hexdigest()


def play(config: FlowsConfig, policy: str, seed: int) -> Row:
    """The row of a policy on the network and the tasks of a seed; the run is proved feasible."""
    flows = make_flows(config, seed)
    schedule = world_of(config, flows, flow_policy(policy, config), seed).run(config.flows.steps)
    validate(schedule, 1)
    bound = capacity(flows.cluster, config)
    return {"policy": policy, "seed": seed, "bound_per_100": bound} | figures(schedule, config, bound)


def figures(schedule: Schedule, config: FlowsConfig, bound_per_100: float) -> Row:
    """What came of a run of `flows.steps` steps.

    Returns:
        offered, completed, dropped and backlog (tasks; those under way between agents are backlog), throughput_per_100
        and dropped_per_100 (per 100 steps), share_of_bound, hops_mean (per offered task), cost_mean (s from arrival to
        completion, of completed tasks), cost_with_drops_mean (s; a dropped task counts with the time until it was
        dropped plus the payoff that is lost, at 1 per s) and the curve, completed per 100 steps in each stretch of
        `comparison.curve_steps`. None for a mean of nothing.
    """
    steps, compared = config.flows.steps, config.comparison
    arrival_s, end_s = schedule.workload.arrival_s, np.array(schedule.end_s_of)
    dropped = np.array(schedule.dropped, bool)
    completed = np.isfinite(end_s)
    left_s = arrival_s.copy()  # when a dropped task came to where it was dropped
    for move in schedule.moves:
        left_s[move.task] = move.at_s + HOP_S
    cost_s = (end_s - arrival_s)[completed]
    lost_s = (left_s - arrival_s)[dropped] + config.learning.payoff
    n_stretches = steps // compared.curve_steps
    counts = np.histogram(end_s[completed], np.arange(n_stretches + 1) * compared.curve_steps)[0]
    throughput = 100.0 * int(completed.sum()) / steps
    early = float((end_s[completed] <= LEARNED_STEP).sum())
    late_steps = max(steps - LEARNED_STEP, 0)
    return {
        "offered": len(arrival_s),
        "completed": int(completed.sum()),
        "dropped": int(dropped.sum()),
        "backlog": int((~completed & ~dropped).sum()),
        "throughput_per_100": throughput,
        "early_per_100": 100.0 * early / min(steps, LEARNED_STEP),
        "late_per_100": 100.0 * (int(completed.sum()) - early) / late_steps if late_steps else None,
        "share_of_bound": throughput / bound_per_100 if bound_per_100 else None,
        "cost_mean": _mean(cost_s),
        "cost_with_drops_mean": _mean(np.concatenate([cost_s, lost_s])),
        "dropped_per_100": 100.0 * int(dropped.sum()) / steps,
        "hops_mean": len(schedule.moves) / len(arrival_s) if len(arrival_s) else None,
        CURVE: (100.0 * counts / compared.curve_steps).tolist(),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _plot(config: FlowsConfig, rows: list[Row]) -> bytes:
    """Throughput over time as a PNG file, with the band of the 95 % interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.subplots()
    compared = config.comparison
    for policy in compared.policies:
        curve = np.array([[row[CURVE] for row in rows if row["policy"] == policy]])
        low, high = Bootstrap(compared.bootstrap_samples, 0).interval(curve)
        step = compared.curve_steps * (1 + np.arange(curve.shape[2]))
        (line,) = axes.plot(step, curve.mean(axis=(0, 1)), label=policy)
        axes.fill_between(step, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.axhline(float(np.mean([row["bound_per_100"] for row in rows])), color="black", ls=":", label="bound")
    axes.set(xlabel="step", ylabel="completed per 100 steps", ylim=(0, None))
    axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    return data.getvalue()
