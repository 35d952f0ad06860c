"""Training by the algorithm that the configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_train import train_ippo, train_q

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_core.config import Config
    from sortie_train.training_run import TrainingRun


def train(config: Config, out: Path, resume: bool = False) -> Path:
    """Train a policy; returns the path of its checkpoint.

    Args:
        config: a whole configuration.
        out: the run's folder.
        resume: go on from its ``train_state.pt``.

    Raises:
        UserError: nothing to resume from, or it was made with another configuration.
    """
    trainer = trainer_of(config)(config, out, resume)
    trainer.run()
    trainer.judge()
    return out / "policy.ckpt"


def trainer_of(config: Config) -> type[TrainingRun]:
    """What trains by `train.algorithm`."""
    return train_q.Trainer if config.train.algorithm in ("vdn", "qmix") else train_ippo.Trainer
