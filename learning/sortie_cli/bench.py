"""Speed on this machine against targets, as a table or as JSON."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sortie_core.config import UserError
from sortie_core.shipped import shipped

_MISSION = shipped("configs/delivery.yaml")
_VERSIONS = ("numpy", "torch", "pybullet", "onnxruntime")


@dataclass(frozen=True)
class Bench:
    """One thing to measure.

    Attributes:
        title: what is measured.
        figure: the key of the headline figure in the result.
        target: the headline figure must reach this, or stay below it where `at_most`.
        unit: of the headline figure.
        module: has ``run(seconds) -> dict``, whose ``rows``, if any, are a table of their own; None for the mission
            itself.
        seconds: how long to measure, s.
        at_most: less is better.
    """

    title: str
    figure: str
    target: float
    unit: str
    module: str | None
    seconds: float = 10.0
    at_most: bool = False


BENCHES = {
    "point_world": Bench(
        "batched point world", "env_steps_per_s", 300_000.0, "environment steps/s", "sortie_sim.world_benchmark"
    ),
    # Held against gym-pybullet-drones in the same run where that is installed; else against ten times real time.
    "pybullet_world": Bench(
        "ten quadrotors in PyBullet", "control_steps_per_s", 480.0, "control steps/s", "sortie_sim.flight_benchmark"
    ),
    "agent_tick": Bench(
        "one agent's tick", "tick_ms_p50", 1.0, "ms at the median", "sortie_policy.runtime_benchmark", at_most=True
    ),
    "training": Bench(
        "training end to end",
        "env_steps_per_s",
        10_000.0,
        "environment steps/s (8 agents)",
        "sortie_train.training_benchmark",
    ),  # fmt: skip
    "expert": Bench(
        "solvers of the expert",
        "local_search_gap",
        0.02,
        "mean gap of the batched local search, 8 agents",
        "sortie_expert.expert_benchmark",
        at_most=True,
    ),  # fmt: skip
    "cluster_world": Bench(
        "cluster world", "events_per_s", 100_000.0, "task events/s, slowest rule", "sortie_cluster.world_benchmark"
    ),
    "cluster_decision": Bench(
        "100 LGTC agents of a cluster",
        "decision_ms_p99",
        5.0,
        "ms per task, 99th percentile",
        "sortie_schedule.decision_benchmark",
        at_most=True,
    ),  # fmt: skip
    "safety_gate": Bench(
        "shield of the safety gate",
        "shield_ms",
        0.2,
        "ms per drone and tick, 15 agents",
        "sortie_safety.gate_benchmark",
        at_most=True,
    ),  # fmt: skip
    "lockstep_mission": Bench("whole mission in lockstep", "real_time_factor", 1.0, "x real time", None),
}


def run_bench(name: str, as_json: bool) -> None:
    """Measure, and print the figures with the machine they were taken on.

    Args:
        name: a key of `BENCHES`.
        as_json: print one JSON object instead of a table.

    Raises:
        UserError: there is no such bench, or the mission in it failed.
    """
    bench = BENCHES.get(name)
    if bench is None:
        raise UserError(f"no bench {name}; choose one of {', '.join(BENCHES)}")
    figures = importlib.import_module(bench.module).run(bench.seconds) if bench.module else _fly_in_lockstep()
    if "ratio" in figures:
        bench = replace(bench, figure="ratio", target=5.0, unit="x gym-pybullet-drones' control steps/s")
    value = figures[bench.figure]
    report = {
        "bench": name,
        "figure": bench.figure,
        "value": value,
        "unit": bench.unit,
        "target": bench.target,
        "met": bool(value <= bench.target if bench.at_most else value >= bench.target),
        "figures": figures,
        "machine": describe_machine(),
    }
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_table(bench, report)


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, system, and the versions that decide the speed."""
    import psutil

    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _VERSIONS},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _fly_in_lockstep() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="sortie-bench-") as folder:
        command = [sys.executable, "-m", "sortie_cli.main", "sim", str(_MISSION), "--lockstep", "--json"]
        begin = time.perf_counter()
        done = subprocess.run([*command, "--out", folder], capture_output=True, text=True)
        wall_s = time.perf_counter() - begin
        try:
            summary = json.loads(done.stdout)
        except ValueError:
            lines = done.stderr.strip().splitlines() or ["without a word"]
            reason = lines[-1].removeprefix("sortie: ")
            raise UserError(f"sortie sim ended with exit code {done.returncode}: {reason}") from None
    kept = ("real_time_factor", "mission_time_s", "n_agents", "delivered_fraction")
    return {name: summary[name] for name in kept} | {"command_s": wall_s}


def _print_table(bench: Bench, report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from sortie_train.table import console_for_tables

    table = Table("", "", title=bench.title, show_header=False, title_justify="left")
    verdict = "[green]met[/green]" if report["met"] else "[red]missed[/red]"
    table.add_row("[bold]result[/bold]", f"[bold]{report['value']:,.4g} {bench.unit}[/bold]")
    target = f"{'at most' if bench.at_most else 'at least'} {bench.target:,.4g} {bench.unit}"
    table.add_row("target", f"{target}: {verdict}", end_section=True)
    rows = report["figures"].get("rows", [])
    for key, value in report["figures"].items():
        if key != "rows":
            table.add_row(key, _cell(value))
    table.add_section()
    for key, value in report["machine"].items():
        table.add_row(key, str(value))
    Console().print(table)
    if rows:
        listed = Table(*(heading.replace("_", " ") for heading in rows[0]))
        for row in rows:
            listed.add_row(*(_cell(value) for value in row.values()))
        console_for_tables().print(listed)


def _cell(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
