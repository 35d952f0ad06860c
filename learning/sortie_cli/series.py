"""One mission after the other with seeds that count up, and one table of them all."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
from itertools import count
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
    "agents' ticks cut short": ("agent_ticks_abandoned", "{:,}"),
    "setpoints p99, ms": ("setpoint_interval_ms_p99", "{:.1f}"),
    "poses p99, ms": ("pose_latency_ms_p99", "{:.1f}"),
    "faults": ("n_faults", "{:.3g}"),
}
_BAD_INPUT = 2
_LEAST = {"min_separation_m"}
_SUM = {"collisions", "n_faults", "late_ticks", "agent_ticks_abandoned"}


def fly_series(
    command: str, arguments: list[str], first_seed: int, n_seeds: int, out: Path | None, as_json: bool
) -> int:
    """Fly missions by `sortie COMMAND`, each in a folder of its own; what its table already holds is not flown again.

    Args:
        command: sim or fly.
        arguments: of it: configuration, overrides and flags.
        first_seed: of the first mission.
        n_seeds: how many.
        out: new folder for all of them, or one of this series; None for one named by the time. It gets series.json
            and series.csv, after each mission anew.
        as_json: print JSON instead of a table.

    Returns:
        0 if every mission succeeded, else 1.

    Raises:
        UserError: the folder is taken, or holds another series, or the input is wrong.
    """
    from rich.console import Console
    from rich.progress import track

    flown = _flown(out, [command, *arguments])
    folder = out if out is not None and flown is not None else create_run_folder(out)
    console = Console(stderr=True)
    known = dict(flown or {})
    _write(folder, [command, *arguments], known)
    seeds = range(first_seed, first_seed + n_seeds)
    for seed in track(seeds, description="flying", console=console, transient=True, disable=not console.is_terminal):
        if seed not in known:
            known[seed] = _fly(command, [*arguments, f"seed={seed}"], seed, folder / f"seed-{seed}")
            _write(folder, [command, *arguments], known)
    rows = [known[seed] for seed in seeds]
    table = _table_of([command, *arguments], rows)
    if as_json:
        print(json.dumps(table, indent=2))
    else:
        Console().print(_table(rows, _mean(rows)))
        for row in rows:
            if row["reason"]:
                Console(soft_wrap=True, highlight=False).print(f"seed {row['seed']}: {row['reason']}", markup=False)
        Console(soft_wrap=True).print(f"{folder}: series.json, series.csv, and a folder for each mission")
    return 0 if all(row["success"] for row in rows) else 1


def _table_of(command: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"command": command, "missions": rows, "mean": _mean(rows)}


def _write(folder: Path, command: list[str], known: dict[int, dict[str, Any]]) -> None:
    rows = [known[seed] for seed in sorted(known)]
    write_atomically(folder / "series.json", json.dumps(_table_of(command, rows), indent=2) + "\n")
    write_atomically(folder / "series.csv", as_csv(rows))


def _flown(out: Path | None, command: list[str]) -> dict[int, dict[str, Any]] | None:
    """Rows of the missions that have been flown already, by seed; None where there is no series.

    Raises:
        UserError: it is another one.
    """
    if out is None or not (out / "series.json").exists():
        return None
    before = json.loads((out / "series.json").read_text(encoding="utf-8"))
    if before["command"] != command:
        asked = shlex.join(["sortie", *before["command"]])
        raise UserError(f"--out {out} holds the series of `{asked}`; name a new folder, or ask for the same")
    return {row["seed"]: row for row in before["missions"] if not row["reason"]}


def _fly(command: str, arguments: list[str], seed: int, folder: Path) -> dict[str, Any]:
    """The row of one mission; what there is of an earlier try, which was broken off or failed, is kept beside it.

    Raises:
        UserError: the input is wrong.
    """
    if folder.exists():
        tries = (folder.with_name(f"{folder.name}.try-{number}") for number in count(1))
        folder.rename(next(path for path in tries if not path.exists()))
    order = [sys.executable, "-m", "sortie_cli.main", command, *arguments, "--json", "--out", str(folder)]
    with subprocess.Popen(
        order, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, said = process.communicate()
        except KeyboardInterrupt:
            process.communicate()  # it is interrupted as well, and lands its drones first
            raise
    lines = said.strip().splitlines() or ["without a word"]
    if process.returncode == _BAD_INPUT:
        raise UserError(lines[-1].removeprefix("sortie: "))
    write_atomically(folder / "messages.txt", said)
    summary = folder / "summary.json"
    if summary.exists():
        return _row(json.loads(summary.read_text(encoding="utf-8"))) | {"reason": ""}
    blank = {key: None for key, _ in _COLUMNS.values()} | {"seed": seed, "success": False}
    why = next((line for line in reversed(lines) if "ERROR" in line), lines[-1])
    return blank | {"reason": why}


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
