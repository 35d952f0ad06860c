"""Runs of a comparison, each kept in the folder as it ends: what interrupts it loses no more than what is under way."""

from __future__ import annotations

import json
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sortie_core.config import UserError
from sortie_core.files import write_atomically
from sortie_core.processes import pool_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        label: for people.
        path: where its row is kept; the name ends in a hash of all that it depends on.
        play: makes the row, in any process.
        arguments: for `play`.
    """

    label: str
    path: Path
    play: Callable[..., Row]
    arguments: tuple[Any, ...]


def run_all(runs: Sequence[Run], jobs: int = 1) -> list[Row]:
    """The rows of all runs, in order; those that are kept already are taken over.

    Args:
        runs: with different paths, or equal content.
        jobs: processes.

    Raises:
        UserError: a kept row is damaged.
    """
    console = Console(stderr=True)
    missing = list({run.path: run for run in runs if not run.path.exists()}.values())
    if len(missing) < len({run.path for run in runs}):
        console.print(f"{len(runs) - len(missing)} of {len(runs)} runs are taken over")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("runs", total=len(missing))
        for run in _each(missing, jobs):
            progress.update(bar, description=run.label, advance=1)
    return [_recall(run.path) for run in runs]


def _each(runs: list[Run], jobs: int) -> Iterator[Run]:
    """Runs as they end."""
    if jobs == 1 or len(runs) < 2:
        for run in runs:
            _play(run)
            yield run
        return
    with pool_of(min(jobs, len(runs))) as pool:
        running = {pool.submit(_play, run): run for run in runs}
        for future in as_completed(running):
            future.result()
            yield running[future]


def _play(run: Run) -> None:
    write_atomically(run.path, json.dumps(run.play(*run.arguments)))


def _recall(path: Path) -> Row:
    try:
        row: Row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and resume") from None
    return row
