"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sortie_cli.completion import complete_configuration, complete_override


def configuration_file(example: str) -> typer.models.ArgumentInfo:
    """The argument CONFIG of a command."""
    found: typer.models.ArgumentInfo = typer.Argument(
        metavar="CONFIG", help=f"YAML file, e.g. {example}.", autocompletion=complete_configuration
    )
    return found


def changed_keys(example: str) -> typer.models.ArgumentInfo:
    """The arguments SECTION.KEY=VALUE of a command."""
    found: typer.models.ArgumentInfo = typer.Argument(
        metavar="SECTION.KEY=VALUE",
        help=f"Keys to change for this run, e.g. {example}.",
        autocompletion=complete_override,
    )
    return found


Mission = Annotated[Path, configuration_file("configs/delivery.yaml")]
Flight = Annotated[Path, configuration_file("configs/flight/mavlink.yaml")]
Cluster = Annotated[Path, configuration_file("configs/cluster.yaml")]
Flows = Annotated[Path, configuration_file("configs/task_flows.yaml")]
Overrides = Annotated[list[str] | None, changed_keys("team.n_agents=12")]
ClusterOverrides = Annotated[list[str] | None, changed_keys("arrivals.load=0.9")]
FlowsOverrides = Annotated[list[str] | None, changed_keys("network.n_agents=30")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="New folder for the run; default runs/<UTC time>.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out DIR.")]
Seeds = Annotated[int, typer.Option(min=1, help="Fly so many missions one after the other, seeds counting up.")]
View = Annotated[bool, typer.Option("--view", help="Show the run in the browser, and to Foxglove.")]
Only = Annotated[
    str,
    typer.Option(
        metavar="PART", help="Start only this part, the rest elsewhere: world, or drones (or nodes) such as 0-3."
    ),
]
Wandb = Annotated[str, typer.Option(metavar="PROJECT", help="Tell the training to Weights & Biases, too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
