"""One mission after the other with seeds that count up, and one table of them all."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from sortie_cli.run_folder import create_run_folder
from sortie_core.config import UserError
from sortie_core.csv_rows import as_csv
from sortie_core.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = {
    "seed": ("seed", "{}"),
    "delivered": ("delivered_fraction", "{:.1%}"),
    "of what the stock allows": ("of_deliverable", "{:.1%}"),
    "to 90 %, s": ("time_to_90_s", "{:.1f}"),
    "collisions": ("collisions", "{:.3g}"),
    "least separation, m": ("min_separation_m", "{:.2f}"),
    "changed by the shield": ("shielded_share", "{:.1%}"),
    "late ticks": ("late_ticks", "{:.3g}"),
    "setpoints p99, ms": ("setpoint_interval_ms_p99", "{:.1f}"),
    "poses p99, ms": ("pose_latency_ms_p99", "{:.1f}"),
    "faults": ("n_faults", "{:.3g}"),
}
_LEAST = {"min_separation_m"}
_SUM = {"collisions", "n_faults", "late_ticks"}


def fly_series(
    command: str, arguments: list[str], first_seed: int, n_seeds: int, out: Path | None, as_json: bool
) -> int:
    """Fly missions by `sortie COMMAND`, each in a folder of its own; one that is there already is not flown again.

    Args:
        command: sim or fly.
        arguments: of it: configuration, overrides and flags.
        first_seed: of the first mission.
        n_seeds: how many.
        out: new folder for all of them, or one of this series; None for one named by the time. It gets series.json
            and series.csv.
        as_json: print JSON instead of a table.

    Returns:
        0 if every mission succeeded, else 1.

    Raises:
        UserError: the folder is taken, or a mission could not be flown because of its input.
    """
    from rich.console import Console
    from rich.progress import track

    folder = out if out is not None and (out / f"seed-{first_seed}").is_dir() else create_run_folder(out)
    console = Console(stderr=True)
    rows = []
    seeds = range(first_seed, first_seed + n_seeds)
    for seed in track(seeds, description="flying", console=console, transient=True, disable=not console.is_terminal):
        rows.append(_row(_fly(command, [*arguments, f"seed={seed}"], folder / f"seed-{seed}")))
    mean = _mean(rows)
    write_atomically(folder / "series.json", json.dumps({"missions": rows, "mean": mean}, indent=2) + "\n")
    write_atomically(folder / "series.csv", as_csv(rows))
    if as_json:
        print(json.dumps({"missions": rows, "mean": mean}, indent=2))
    else:
        Console().print(_table(rows, mean))
        Console(soft_wrap=True).print(f"{folder}: series.json, series.csv, and a folder for each mission")
    return 0 if all(row["success"] for row in rows) else 1


def _fly(command: str, arguments: list[str], folder: Path) -> dict[str, Any]:
    summary = folder / "summary.json"
    if not summary.exists():
        order = [sys.executable, "-m", "sortie_cli.main", command, *arguments, "--json", "--out", str(folder)]
        with subprocess.Popen(
            order, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                _, said = process.communicate()
            except KeyboardInterrupt:
                process.communicate()  # it is interrupted as well, and lands its drones first
                raise
        if not summary.exists():
            lines = said.strip().splitlines() or ["without a word"]
            raise UserError(f"{folder} could not be flown (exit code {process.returncode}): {lines[-1]}")
    found: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return found


def _row(summary: dict[str, Any]) -> dict[str, Any]:
    row = {key: summary.get(key) for key, _ in _COLUMNS.values()} | {"success": summary["success"]}
    row["of_deliverable"] = summary["delivered_fraction"] / max(summary["deliverable_fraction"], 1e-9)
    row["n_faults"] = len(summary["faults"])
    return row | {key: value for key, value in summary.get("flight", {}).items() if key in row}


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over missions; sums and the least where that is what counts; times over those that have one."""
    found: dict[str, Any] = {"n_missions": len(rows)}
    for key in (key for key, _ in _COLUMNS.values() if key != "seed"):
        known = [row[key] for row in rows if row[key] is not None]
        fold = min if key in _LEAST else sum if key in _SUM else statistics.fmean
        found[key] = fold(known) if known else None
    return found


def _table(rows: list[dict[str, Any]], mean: dict[str, Any]) -> Any:
    from rich.table import Table

    title = f"{len(rows)} missions; last line: means, sums of counts, least separation"
    table = Table(title=title, title_justify="left")
    shown = {title: each for title, each in _COLUMNS.items() if any(row[each[0]] is not None for row in rows)}
    for title in shown:
        table.add_column(title, justify="right")
    for row in [*rows, mean | {"seed": "all"}]:
        table.add_row(*("-" if row[key] is None else form.format(row[key]) for key, form in shown.values()))
    return table
