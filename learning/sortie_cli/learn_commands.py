"""`sortie train`, `sweep` and `evaluate`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from sortie_cli.arguments import Json, Mission, Out, Overrides, Resume, Wandb

commands = typer.Typer()
_PANEL = "Learn"


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie train configs/delivery.yaml --out runs/mine")
def train(
    config: Mission,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    wandb: Wandb = "",
    json: Json = False,
) -> None:
    """Train a policy.

    Drones train in the batched point world, agents of a cluster by an evolution strategy.
    """
    from sortie_cli.configurations import kind_for
    from sortie_cluster.config import ClusterConfig
    from sortie_core.config import Config, UserError, load, load_config

    if kind_for(config, Config, ClusterConfig) is ClusterConfig:
        from sortie_cli.cluster_runs import train_agents

        train_agents(load(ClusterConfig, config, overrides or []), config, overrides, out, resume, wandb, json)
        return
    loaded = load_config(config, overrides or [])
    from sortie_cli.run_folder import create_run_folder, open_run_folder, say_how_to_go_on

    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one makes the folder
    if "RANK" in os.environ and out is None:
        raise UserError("name the run's folder with --out DIR, so that all processes of torchrun share it")
    from sortie_cli.training_views import listeners

    told = listeners(wandb) if leads else []
    if out is not None and not leads:
        folder = out
    else:
        folder = open_run_folder(out) if resume else create_run_folder(out, resumable=True)
    from sortie_train.train import report
    from sortie_train.train import train as train_policy

    try:
        checkpoint = train_policy(loaded, folder, resume, told)
    except KeyboardInterrupt:
        if leads and (folder / "train_state.pt").exists():
            say_how_to_go_on("train", config, overrides, folder)
        elif leads:
            print(
                f"sortie: interrupted before anything was saved (train.checkpoint_every="
                f"{loaded.train.checkpoint_every}); delete {folder} to begin again",
                file=sys.stderr,
            )
        raise
    if leads:
        report(checkpoint, json)


@commands.command(rich_help_panel=_PANEL, epilog="Example: sortie sweep configs/evaluate/main.yaml --out runs/main")
def sweep(
    config: Mission,
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the sweep.")],
    overrides: Overrides = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at the same time.")] = 2,
    wandb: Wandb = "",
) -> None:
    """Train every method of a comparison.

    That is each of evaluation.learned, or each of a cluster's trainings, by each training seed.
    """
    from sortie_cli.configurations import kind_for
    from sortie_cluster.config import ClusterConfig
    from sortie_core.config import Config, load, load_config

    if kind_for(config, Config, ClusterConfig) is ClusterConfig:
        from sortie_cli.cluster_runs import sweep_routers

        sweep_routers(load(ClusterConfig, config, overrides or []), config, overrides, out, resume, jobs, wandb)
        return
    loaded = load_config(config, overrides or [])
    from sortie_cli.run_folder import open_run_folder, resumable_run
    from sortie_train.sweep import evaluation_overrides, plan_trainings
    from sortie_train.sweep import sweep as train_all
    from sortie_train.wandb_log import wandb_logs

    if resume:
        open_run_folder(out)
    trainings = plan_trainings(loaded, out)
    wandb_logs(wandb)  # refuse what is not installed, before there is a folder
    with resumable_run("sweep", config, overrides, out, resume):
        failed = train_all(trainings, jobs, wandb)
    for training in failed:
        print(f"sortie: {training.folder} failed: {training.last_words} (see train.log there)", file=sys.stderr)
    again = [str(config), *(overrides or [])]
    if failed:
        command = shlex.join(["sortie", "sweep", *again, "--out", str(out), "--resume"])
        print(
            f"sortie: {len(failed)} of {len(trainings)} trainings failed; when that is mended: {command}",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    print(shlex.join(["sortie", "evaluate", *again, *evaluation_overrides(loaded, out)]))


@commands.command(
    rich_help_panel=_PANEL,
    epilog="Example: sortie evaluate configs/evaluate/main.yaml evaluation.n_layouts=20 --jobs 2",
)
def evaluate(
    config: Mission,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that fly at the same time.")] = 1,
    json: Json = False,
) -> None:
    """Compare methods, or answer questions about them.

    All of them get the same unseen layouts or tasks.
    """
    from sortie_cli.configurations import kind_for, load_any
    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.flows_config import FlowsConfig
    from sortie_core.config import Config, UserError, load_config

    kind_for(config, Config, ClusterConfig, FlowsConfig)
    found = load_any(config, overrides or [])
    if isinstance(found, ClusterConfig | FlowsConfig):
        from sortie_cli.cluster_runs import evaluate_suites

        evaluate_suites(found, config, overrides, out, resume, jobs, json)
        return
    loaded = load_config(config, overrides or [])
    if loaded.evaluation.train_seeds and any(each.startswith("policy.checkpoint=") for each in overrides or []):
        raise UserError(
            "policy.checkpoint: has no effect beside evaluation.train_seeds, which names the policies by "
            "evaluation.checkpoints; add evaluation.train_seeds=[] to fly this one alone"
        )
    from sortie_cli.run_folder import open_run_folder, resumable_run
    from sortie_train.evaluate import evaluate as evaluate_methods
    from sortie_train.flights import plan
    from sortie_train.questions import ask

    if resume:
        open_run_folder(out)
    flights, asked = plan(loaded), ask(loaded)  # refuse what cannot be flown, before there is a folder
    with resumable_run("evaluate", config, overrides, out, resume) as folder:
        evaluate_methods(loaded, flights, folder, jobs, json, asked)
