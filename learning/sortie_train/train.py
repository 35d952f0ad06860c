"""Training by the algorithm that the configuration names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sortie_core.config import UserError
from sortie_policy.checkpoint import check_exported, load_metadata
from sortie_train import train_ippo, train_q

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sortie_core.config import Config
    from sortie_core.training import Listener
    from sortie_train.training_run import TrainingRun


def train(config: Config, out: Path, resume: bool = False, listeners: Sequence[Listener] = ()) -> Path:
    """Train a policy; returns the path of its checkpoint.

    Args:
        config: a whole configuration.
        out: the run's folder.
        resume: go on from its ``train_state.pt``.
        listeners: who is told how it goes, beside TensorBoard's event files in the folder.

    Raises:
        UserError: nothing to resume from, or it was made with another configuration.
    """
    trainer = trainer_of(config)(config, out, resume)
    if not trainer.judged:
        with trainer.log(listeners) as log:
            trainer.run(log)
            trainer.workers.part()
            trainer.judge(log)
    return out / "policy.ckpt"


def report(checkpoint: Path, as_json: bool) -> None:
    """Print what the trained policy delivers on unseen layouts, in either world, and how to fly it.

    Args:
        checkpoint: from `train`.
        as_json: for machines, all figures of both worlds.
    """
    metadata = load_metadata(checkpoint)
    figures = metadata["figures"]
    if as_json:
        print(json.dumps({"checkpoint": str(checkpoint), "figures": figures}, indent=2))
        return
    for world, row in figures.items():
        print(
            f"{row['n_layouts']} unseen layouts, {row['n_agents']} drones, {world} world: delivered "
            f"{row['delivered_mean']:.3f}, time average {row['delivered_auc_mean']:.3f}"
        )
    try:
        check_exported(checkpoint)
        print(f"fly it: sortie sim CONFIG policy.checkpoint={checkpoint}")
    except UserError:
        network = metadata["config"]["policy"]["network"]
        print(f"fly it: sortie evaluate CONFIG policy.network={network} policy.checkpoint={checkpoint}")


def trainer_of(config: Config) -> type[TrainingRun]:
    """What trains by `train.algorithm`."""
    return train_q.Trainer if config.train.algorithm in ("vdn", "qmix") else train_ippo.Trainer
