"""What `sortie report` prints of missions and trainings, beside the page that it writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from sortie_cli.run_folder import create_run_folder
from sortie_view.report import Runs, load_runs, write_report

if TYPE_CHECKING:
    from pathlib import Path

_PIPE_WIDTH = 200


def report(paths: list[Path], out: Path | None, as_json: bool) -> None:
    """Write the page, and print its path on stdout, its tables on stderr.

    Args:
        paths: of runs.
        out: new folder for the page; None for one named by the time.
        as_json: print all figures as JSON on stdout instead.

    Raises:
        UserError: a run cannot be read, or the folder is taken.
    """
    console = Console(stderr=True)
    runs = _read(paths, console)
    page = write_report(runs, create_run_folder(out))
    if as_json:
        print(json.dumps({"page": str(page)} | runs.summary(), indent=2))
        return
    wide = console if console.is_terminal else Console(stderr=True, width=_PIPE_WIDTH)
    for kind, (names, rows) in runs.tables().items():
        table = Table(kind, *names)
        for title, cells in rows:
            table.add_row(title, *cells)
        wide.print(table)
    print(page)


def _read(paths: list[Path], console: Console) -> Runs:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        readings: dict[str, TaskID] = {}

        def show(name: str, share: float) -> None:
            if name not in readings:
                readings[name] = bar.add_task(f"reading {name}", total=1.0)
            bar.update(readings[name], completed=share)

        return load_runs(paths, show)
