"""Who is told how a training goes: what `sortie train` shows, and what `sortie watch` shows of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_core.training import Listener

_EVERY_S = 2.0


def listeners(wandb: str) -> list[Listener]:
    """Who hears of a training of this process: a dashboard on a terminal, else lines, and Weights & Biases.

    Args:
        wandb: project there; empty for none.

    Raises:
        UserError: Weights & Biases is asked for, but not installed.
    """
    from sortie_train.progress_lines import ProgressLines
    from sortie_train.wandb_log import wandb_logs
    from sortie_view.training_dashboard import TrainingDashboard

    console = Console(stderr=True)
    shown: Listener = ProgressLines()
    if console.is_terminal and not console.is_dumb_terminal:
        shown = TrainingDashboard(console)
    return [*wandb_logs(wandb), shown]


def watch(runs: list[Path]) -> None:
    """Show trainings that run elsewhere, or have ended."""
    from sortie_view.training_watch import watch as show

    show(runs, Console(), _EVERY_S)
