"""`sortie replay`, `watch` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sortie_cli.arguments import Json

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


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie watch runs/mine")
def watch(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of trainings, or of sweeps.")],
) -> None:
    """Show how trainings go, until Ctrl-C.

    They run elsewhere, or have ended.
    """
    from sortie_cli.training_views import watch as show

    show(runs)


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie report runs/mine runs/other --out runs/report")
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs, trainings or sweeps; or MCAP files."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder; default runs/<UTC time>.")] = None,
    json: Json = False,
) -> None:
    """Compare missions, or trainings, on a page.

    Tables are shown here, too; the page's pictures are PNG files beside it.
    """
    from sortie_cli.reports import report as write

    write(runs, out, json)
