"""`sortie init`, `sim` and `fly`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sortie_cli.arguments import Flight, Json, Mission, Only, Out, Overrides, Seeds, View
from sortie_cli.completion import complete_kind

commands = typer.Typer()
_PANEL = "Fly"


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie init my_scenario && sortie sim my_scenario.yaml")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new file; .yaml is added.")],
    kind: Annotated[
        str,
        typer.Option(help="delivery, flight, cluster, cluster_live or flows.", autocompletion=complete_kind),
    ] = "delivery",
    full: Annotated[bool, typer.Option("--full", help="Every key, instead of those that people change first.")] = False,
) -> None:
    """Write a commented scenario of your own.

    It goes into the working folder and extends a shipped file: what it does not say is as there.
    """
    from sortie_cli.new_scenario import write_scenario

    print(write_scenario(name, kind, full=full, folder=Path()))


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie sim configs/delivery.yaml team.n_agents=12 --view")
def sim(
    config: Mission,
    overrides: Overrides = None,
    out: Out = None,
    lockstep: Annotated[
        bool, typer.Option("--lockstep", help="Each tick waits for every drone: bit-exact replay, any speed.")
    ] = False,
    only: Only = "",
    view: View = False,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Fly a mission in simulation.

    A graph of ROS 2 nodes flies it: an agent for each drone, the radio, the safety gate, the world.
    """
    from sortie_cli.configurations import kind_for
    from sortie_core.config import Config, load_config

    kind_for(config, Config)
    loaded = load_config(config, overrides or [])
    if seeds > 1:
        _refuse_part(only)
        flags = [*(["--lockstep"] if lockstep else []), *(["--view"] if view else [])]
        _fly_series("sim", [str(config), *(overrides or []), *flags], loaded.seed, seeds, out, json)
    from sortie_cli.graph import run_graph

    run_graph(config, overrides, out, only, lockstep=lockstep, view=view, json=json)


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie fly configs/flight/mavlink.yaml flight.peers=true")
def fly(
    config: Flight,
    overrides: Overrides = None,
    out: Out = None,
    only: Only = "",
    yes: Annotated[bool, typer.Option("--yes", help="Arm as soon as the checklist is green, without asking.")] = False,
    view: View = False,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Fly a mission with real drones.

    flight.peers=true flies it with simulated autopilots that speak the same protocols.
    """
    from sortie_cli.configurations import kind_for
    from sortie_core.config import UserError, load
    from sortie_core.flight_config import FlightConfig

    kind_for(config, FlightConfig)
    changes = [*(overrides or []), *(["flight.confirm=false"] if yes else [])]
    loaded = load(FlightConfig, config, changes)
    if loaded.real and "crazyswarm2" in loaded.adapters and not os.environ.get("ROS_DOMAIN_ID"):
        raise UserError(
            "flight.adapter: Crazyswarm2's server is met in its ROS_DOMAIN_ID alone; `export ROS_DOMAIN_ID=0`, or the "
            "one that it was started with"
        )
    if seeds > 1:
        _refuse_part(only)
        if loaded.asks:
            raise UserError("--seeds flies many missions without asking; add --yes, or flight.peers=true")
        flags = ["--view"] if view else []
        _fly_series("fly", [str(config), *changes, *flags], loaded.seed, seeds, out, json)
    from sortie_cli.graph import run_graph

    run_graph(config, changes, out, only, view=view, json=json)


def _refuse_part(only: str) -> None:
    from sortie_core.config import UserError

    if only:
        raise UserError("--only starts a part of one mission; leave out --seeds")


def _fly_series(
    command: str, arguments: list[str], first_seed: int, n_seeds: int, out: Path | None, json: bool
) -> NoReturn:
    from sortie_cli.series import fly_series

    raise typer.Exit(fly_series(command, arguments, first_seed, n_seeds, out, json))
