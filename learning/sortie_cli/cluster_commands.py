"""`sortie cluster` and `flows`."""

from __future__ import annotations

from typing import Annotated

import typer

from sortie_cli.arguments import Cluster, ClusterOverrides, Flows, FlowsOverrides, Json, Only, Out, Resume, View

commands = typer.Typer()
_PANEL = "Cluster"


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie cluster configs/cluster.yaml --jobs 2")
def cluster(
    config: Cluster,
    overrides: ClusterOverrides = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    lockstep: Annotated[
        bool, typer.Option("--lockstep", help="Live, simulated backend: each tick waits for every node; exact replay.")
    ] = False,
    only: Only = "",
    view: View = False,
    json: Json = False,
) -> None:
    """Schedule the tasks of a trace on a cluster.

    Compares schedulers; or, with a section `live`, runs the agents as a graph of ROS 2 nodes.
    """
    from sortie_cli.configurations import kind_for
    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.live_config import LiveConfig
    from sortie_core.config import load

    if kind_for(config, ClusterConfig, LiveConfig) is LiveConfig:
        load(LiveConfig, config, overrides or [])  # refuse what is wrong, before there is a folder
        _refuse("is for comparisons, such as configs/cluster.yaml", resume=resume, jobs=jobs > 1)
        from sortie_cli.graph import run_graph

        run_graph(config, overrides, out, only, lockstep=lockstep, view=view, json=json)
    _refuse("is for live clusters, such as configs/cluster_live.yaml", only=bool(only), lockstep=lockstep, view=view)
    loaded = load(ClusterConfig, config, overrides or [])
    from sortie_cli.run_folder import resumable_run
    from sortie_cluster.scenario import make_scenario
    from sortie_schedule.comparison import compare, with_reference

    with_reference(loaded)  # refuse what cannot be run, before there is a folder
    make_scenario(loaded, loaded.comparison.first_seed)
    with resumable_run("cluster", config, overrides, out, resume) as folder:
        compare(loaded, folder, jobs, json)


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie flows configs/task_flows.yaml --jobs 2")
def flows(
    config: Flows,
    overrides: FlowsOverrides = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    json: Json = False,
) -> None:
    """Route flows of tasks through a network of agents.

    Compares policies.
    """
    from sortie_cli.configurations import kind_for
    from sortie_cluster.flows_config import FlowsConfig
    from sortie_core.config import load

    kind_for(config, FlowsConfig)
    loaded = load(FlowsConfig, config, overrides or [])
    from sortie_cli.run_folder import resumable_run
    from sortie_schedule.flows import policies, run_flows

    policies(loaded)  # refuse what cannot be made, before there is a folder
    with resumable_run("flows", config, overrides, out, resume) as folder:
        run_flows(loaded, folder, jobs, json)


def _refuse(why: str, **given: bool) -> None:
    """Refuse options that would have no effect, where they are given."""
    from sortie_core.config import UserError

    for option in (name for name, is_given in given.items() if is_given):
        raise UserError(f"--{option} {why}; leave it out")
