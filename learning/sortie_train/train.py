"""Training by the algorithm that the configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_train.train_ippo import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_core.config import Config


def train(config: Config, out: Path, resume: bool = False) -> Path:
    """Train a policy; returns the path of its checkpoint.

    Args:
        config: a whole configuration.
        out: the run's folder.
        resume: go on from its ``train_state.pt``.

    Raises:
        UserError: nothing to resume from, or it was made with another configuration.
    """
    trainer = Trainer(config, out, resume)
    trainer.run()
    trainer.judge()
    return out / "policy.ckpt"
