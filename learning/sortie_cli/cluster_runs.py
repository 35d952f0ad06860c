"""Trainings and evaluations of a compute cluster: what `sortie train`, `evaluate` and `sweep` do with its files."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from sortie_cli.run_folder import resumable_run

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.flows_config import FlowsConfig


def train_agents(
    loaded: ClusterConfig,
    config: Path,
    overrides: list[str] | None,
    out: Path | None,
    resume: bool,
    wandb: str,
    as_json: bool,
) -> None:
    """Train the agents of a cluster."""
    from sortie_cli.training_views import listeners
    from sortie_schedule.evolution import train

    told = listeners(wandb)
    with resumable_run("train", config, overrides, out, resume) as folder:
        checkpoint = str(train(loaded, folder, resume=resume, listeners=told))
    print(json.dumps({"checkpoint": checkpoint}) if as_json else checkpoint)


def evaluate_suites(
    loaded: ClusterConfig | FlowsConfig,
    config: Path,
    overrides: list[str] | None,
    out: Path | None,
    resume: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Compare schedulers in the settings of a source."""
    from sortie_schedule import suites

    suites.configurations(loaded)  # refuse what cannot be run, before there is a folder
    with resumable_run("evaluate", config, overrides, out, resume) as folder:
        suites.evaluate_suites(loaded, folder, jobs, as_json)


def sweep_routers(
    loaded: ClusterConfig,
    config: Path,
    overrides: list[str] | None,
    out: Path,
    resume: bool,
    jobs: int,
    wandb: str,
) -> None:
    """Train the routers of a cluster."""
    from sortie_schedule import router_sweep
    from sortie_train.wandb_log import wandb_logs

    wandb_logs(wandb)
    router_sweep.plan(loaded, out)  # refuse what cannot be trained, before there is a folder
    with resumable_run("sweep", config, overrides, out, resume):
        router_sweep.sweep_routers(loaded, out, jobs, wandb)
    again = [str(config), *(overrides or []), f"comparison.checkpoints={out}/{{training}}-{{seed}}/q.ckpt"]
    print(shlex.join(["sortie", "evaluate", *again]))
