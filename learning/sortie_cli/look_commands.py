"""`sortie replay` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer()
_PANEL = "Look"


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie replay runs/mine")
def replay(
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="MCAP file of a run, or the run's folder.")],
    port: Annotated[
        int, typer.Option(min=1, max=65534, help="Of Foxglove's WebSocket; the page has the next one.")
    ] = 8765,
) -> None:
    """Show a recorded run again, in the browser and to Foxglove."""
    from rich.console import Console

    from sortie_view.replay import replay as show

    show(recording, port, Console(stderr=True, highlight=False))


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie report runs/mine runs/other --out runs/report")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or their MCAP files.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder; default runs/<UTC time>.")] = None,
) -> None:
    """Write a page about recorded missions.

    Its pictures are PNG files beside it.
    """
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from sortie_cli.run_folder import create_run_folder
    from sortie_view.report import load_missions, write_report

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        readings: dict[str, TaskID] = {}

        def show(name: str, share: float) -> None:
            if name not in readings:
                readings[name] = bar.add_task(f"reading {name}", total=1.0)
            bar.update(readings[name], completed=share)

        missions = load_missions(runs, show)
    print(write_report(missions, create_run_folder(out)))
