"""Policies on the same nodes and tasks, seed by seed: table with intervals, Gantt charts, every task, every node.

What comes out in a folder: ``rows.json`` and ``rows.csv``, a row per policy and seed; ``table.md``; ``tasks`` and
``nodes``, one CSV per run; ``gantt``, a chart of the first run of each policy; ``trace.png``, the tasks beside the
published histograms; and ``data_report.json`` where tasks were read.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.metrics import metrics
from sortie_cluster.scenario import make_scenario, tasks_of
from sortie_cluster.schedule_rows import node_rows, task_rows
from sortie_cluster.trace_calibration import draw_calibration
from sortie_cluster.validator import validate
from sortie_core.config import content_hash
from sortie_core.csv_rows import as_csv
from sortie_core.files import write_atomically
from sortie_core.own_classes import told_in_a_line
from sortie_policy.checkpoint import locate
from sortie_schedule.gantt import draw_gantt
from sortie_schedule.kept_runs import Row, Run, run_all
from sortie_schedule.schedulers import UNTRAINED, checkpoint_of, scheduler, train_seeds
from sortie_schedule.summary import Summary
from sortie_train.table import console_for_tables

if TYPE_CHECKING:
    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.schedule import Schedule

COLUMNS = {
    "completion_mean_s": ("completion, s", 2),
    "relative": ("over the reference", 3),
    "completion_p95_s": ("p95, s", 1),
    "completion_p99_s": ("p99, s", 1),
    "slowdown_mean": ("slowdown", 2),
    "utilisation_cpu": ("CPU", 3),
    "throughput_per_h": ("tasks/h", 0),
    "jain": ("Jain", 3),
    "hops_mean": ("hops", 2),
    "dropped": ("dropped", 0),
    "backlog": ("backlog", 0),
    "decision_p99_ms": ("decision p99, ms", 2),
}
"""Figures of a row that are shown, their headings and digits."""
_PROGRAMS = (
    "sortie_cluster",
    "sortie_policy.cluster_features",
    "sortie_policy.cluster_policy",
    "sortie_policy.lgtc_scheduler",
    "sortie_schedule.q_schedulers",
    __name__,
)


def compare(config: ClusterConfig, folder: Path, jobs: int = 1, json_only: bool = False) -> list[Row]:
    """Run all policies over all seeds, and write and print what comes out.

    Args:
        config: what is compared, and on what.
        folder: where results go; runs that are kept there are taken over.
        jobs: processes.
        json_only: print {"rows": [...]} instead of tables.

    Returns:
        A row per policy and seed.

    Raises:
        UserError: a policy that cannot be made, or tasks that cannot be read.
    """
    names = with_reference(config)
    tasks = tasks_of(config.trace)
    rows = run_all(plan(config, folder, names), jobs)
    for name in names:
        keep_details(config, name, folder)
    write_atomically(folder / "rows.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(folder / "rows.csv", as_csv(rows))
    if too_large := make_scenario(config, config.comparison.first_seed).too_large:
        print(f"sortie: {too_large}", file=sys.stderr)
    summary = summarise(config, rows)
    write_atomically(folder / "table.md", summary.markdown())
    draw_calibration(tasks.table, folder / "trace.png")
    if tasks.report:
        write_atomically(folder / "data_report.json", json.dumps(tasks.report.to_json(), indent=1) + "\n")
    if json_only:
        print(json.dumps({"rows": rows}))
        return rows
    console = console_for_tables()
    if tasks.report:
        console.print(_data_table(tasks.report))
    console.print(summary.table())
    console.print(f"{folder}: rows.csv, tasks/, nodes/, gantt/, trace.png, table.md")
    return rows


def summarise(config: ClusterConfig, rows: list[Row], title: str = "") -> Summary:
    """The table of a comparison."""
    compared = config.comparison
    n_trainings = len({row["train_seed"] for row in rows} - {0})
    trained = f" x {n_trainings} trainings of what is learned" if n_trainings > 1 else ""
    title = f"{title + ': ' if title else ''}{compared.seeds} seeds{trained}, mean ± half of its 95 % interval"
    return Summary(rows, COLUMNS, compared.bootstrap_samples, title, compared.reference)


def with_reference(config: ClusterConfig) -> list[str]:
    """The policies, the reference among them; refuses what cannot be made."""
    compared = config.comparison
    names = list(dict.fromkeys([*compared.policies, compared.reference]))
    for name in names:
        for train_seed in train_seeds(name, config):
            scheduler(name, config, train_seed)
    return names


def plan(config: ClusterConfig, folder: Path, names: list[str], *, details: bool = True) -> list[Run]:
    """The runs of a comparison; with `details` each writes its tasks and nodes."""
    compared = config.comparison
    runs = []
    for seed in range(compared.first_seed, compared.first_seed + compared.seeds):
        for name in names:
            for train_seed in train_seeds(name, config):
                stem = _stem(name, train_seed, seed)
                path = folder / "runs" / f"{stem}-{_key(config, name, train_seed)}.json"
                arguments = (config, name, train_seed, seed, folder if details else None)
                runs.append(Run(f"{name}, seed {seed}", path, play, arguments))
    return runs


def _stem(policy: str, train_seed: int, seed: int) -> str:
    """Name of a run's files."""
    trained = f"-{train_seed}" if train_seed else ""
    return f"{policy.replace(':', '.').replace('/', '_')}{trained}-{seed}"


def _key(config: ClusterConfig, name: str, train_seed: int) -> str:
    """A hash of what a run depends on: configuration, checkpoint and program."""
    data = config.content() | {"max_hops": config.agents.max_hops, "policy": name, "program": _program()}
    if config.trace.path:
        data["written_ns"] = Path(config.trace.path).stat().st_mtime_ns
    checkpoint = checkpoint_of(name, config, train_seed)
    if checkpoint or ":" in name or name == UNTRAINED:
        data["agents"] = config.agents.model_dump()
    if name in config.comparison.learned:
        data["learned"] = config.comparison.learned[name].model_dump()
    if checkpoint:
        data["checkpoint"] = hashlib.sha256(locate(checkpoint).read_bytes()).hexdigest()
    if ":" in name:
        file = importlib.import_module(name.partition(":")[0]).__file__ or ""
        data["own"] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return content_hash(data)


@cache
def _program() -> str:
    """A hash of the world, the rules and the learned agents."""
    files: list[Path] = []
    for name in _PROGRAMS:
        module = importlib.import_module(name)
        folders = [Path(folder) for folder in getattr(module, "__path__", [])]
        files += [file for folder in folders for file in sorted(folder.glob("*.py"))] or [Path(module.__file__ or "")]
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in files)).hexdigest()


# One run.


def simulate(config: ClusterConfig, name: str, train_seed: int, seed: int) -> tuple[Schedule, np.ndarray]:
    """A run that has been proved feasible, and the time of each decision, s."""
    cluster, workload, _ = make_scenario(config, seed)
    policy = scheduler(name, config, train_seed)
    own = told_in_a_line(f"comparison.policies: {name} failed") if ":" in name else nullcontext()
    with own:
        world = ClusterWorld(
            cluster, workload, policy, config.heard, max_hops=config.agents.max_hops, seed=seed, timed=True
        )
        log = world.run(config.arrivals.duration_s if workload.closed else np.inf)
        validate(log, policy.scope)
    return log, np.array(world.decision_s)


def play(config: ClusterConfig, name: str, train_seed: int, seed: int, folder: Path | None) -> Row:
    """The row of a run; its tasks and nodes are written to a folder."""
    log, decision_s = simulate(config, name, train_seed, seed)
    if folder:
        file = f"{_stem(name, train_seed, seed)}.csv"
        write_atomically(folder / "tasks" / file, as_csv(task_rows(log)))
        write_atomically(folder / "nodes" / file, as_csv(node_rows(log)))
    latency = {f"decision_p{share}_ms": 1e3 * float(np.percentile(decision_s, share)) for share in (50, 99)}
    return {"policy": name, "train_seed": train_seed, "seed": seed} | metrics(log, config.arrivals.warm_up) | latency


def keep_details(config: ClusterConfig, name: str, folder: Path) -> None:
    """The Gantt chart of a policy's first run, where there is none yet."""
    train_seed, seed = train_seeds(name, config)[0], config.comparison.first_seed
    path = folder / "gantt" / f"{_stem(name, train_seed, seed)}.png"
    if not path.exists():
        log, _ = simulate(config, name, train_seed, seed)
        write_atomically(path, draw_gantt(log, config.comparison.gantt_s, name))


def _data_table(report: Any) -> Table:
    table = Table(title="What was found in the trace", title_justify="left")
    for heading in ("rows with", "count", "first row", "what was done"):
        table.add_column(heading)
    for name, count, first, action in report.rows():
        table.add_row(name, str(count), str(first), action)
    return table
