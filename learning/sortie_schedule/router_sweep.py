"""Trains the routers of `trainings`, each by every training seed, several at a time.

Each has a folder of its own with ``q.ckpt``, TensorBoard's event files, and ``epochs.csv``, the losses of every epoch
and the figures of those that are evaluated. A sweep that was killed goes on: what is finished is skipped, and what was
begun begins again.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.table import Table

from sortie_core.config import UserError
from sortie_schedule.kept_runs import Row, Run, run_all
from sortie_schedule.train_q_scheduler import CHECKPOINT, QTraining, train
from sortie_train.table import console_for_tables
from sortie_train.wandb_log import wandb_logs

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_cluster.config import ClusterConfig


def plan(config: ClusterConfig, out: Path, wandb: str = "") -> list[Run]:
    """The trainings of a sweep: of each seed all of them, so that an early end leaves whole seeds.

    Args:
        config: with trainings.
        out: the sweep's folder.
        wandb: project of Weights & Biases that they are told to; empty for none.

    Raises:
        UserError: there are none, or one makes no sense.
    """
    if not config.trainings:
        raise UserError("trainings: this configuration has none; configs/evaluate/source_a.yaml has some")
    runs = []
    for seed in config.comparison.train_seeds:
        for name in config.trainings:
            training, here = read_training(config, name, seed)
            folder = out / f"{name}-{seed}"
            runs.append(Run(f"{name}-{seed}", folder / "figures.json", train_router, (here, training, folder, wandb)))
    return runs


def read_training(config: ClusterConfig, name: str, seed: int) -> tuple[QTraining, ClusterConfig]:
    """How a router is trained, and where.

    Raises:
        UserError: a key that there is not, or a suite that there is not.
    """
    try:
        training = QTraining.model_validate(config.trainings[name] | {"seed": seed})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("trainings", name, *first["loc"])))
        raise UserError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None
    suite = training.suite
    if suite and suite not in config.suites:
        raise UserError(f"trainings.{name}.suite: there is no suite {suite!r}; there are {', '.join(config.suites)}")
    here = config.changed(config.suites[suite].keys, f"suites.{suite}") if suite else config
    return training, here


def train_router(config: ClusterConfig, training: QTraining, folder: Path, wandb: str = "") -> Row:
    """Train a router, unless that is done; returns its figures on the validation window, by epoch."""
    path = folder / CHECKPOINT
    if not path.exists():
        train(config, training, folder, wandb_logs(wandb))
    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    return {"method": metadata["method"], "seed": metadata["seed"], "epochs": metadata["epochs"]}


def sweep_routers(config: ClusterConfig, out: Path, jobs: int, wandb: str = "") -> None:
    """Train what is not trained yet, and print the figures on the validation window."""
    runs = plan(config, out, wandb)
    rows = run_all(runs, jobs)
    table = Table(title="completion, s, on the validation window, by epoch", title_justify="left")
    for heading in ("training", "method", "epochs"):
        table.add_column(heading)
    for run, row in zip(runs, rows, strict=True):
        figures = (f"{epoch}: {found['completion_mean_s']:.2f}" for epoch, found in row["epochs"].items())
        table.add_row(run.label, row["method"], "  ".join(figures))
    console_for_tables().print(table)
