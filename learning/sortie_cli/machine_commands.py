"""`sortie doctor` and `bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from sortie_cli.arguments import Json
from sortie_cli.completion import complete_bench

commands = typer.Typer()
_PANEL = "Machine"


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie doctor --json")
def doctor(json: Json = False) -> None:
    """Say what is missing here, and how to mend it."""
    from sortie_cli.doctor import examine

    raise typer.Exit(examine(json))


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie bench point_world")
def bench(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="point_world, pybullet_world, agent_tick, training, expert, cluster_world, cluster_decision, "
            "safety_gate or lockstep_mission.",
            autocompletion=complete_bench,
        ),
    ],
    json: Json = False,
) -> None:
    """Measure the speed of this machine against a target."""
    from sortie_cli.bench import run_bench

    run_bench(name, json)
