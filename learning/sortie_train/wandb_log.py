"""Tells a training to Weights & Biases, an optional package; its own variables, such as WANDB_MODE, say where to."""

from __future__ import annotations

import importlib
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sortie_core.config import UserError
from sortie_core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sortie_core.training import Listener, Training

RUN_ID = "wandb_run_id"
"""File in the folder of the run: what goes on with the training goes on with the same run there."""


def wandb_logs(project: str) -> list[Listener]:
    """Who tells a training there: one where a project is named; see `WandbLog`."""
    return [WandbLog(project)] if project else []


class WandbLog:
    """A run there, named as the folder of the training.

    Args:
        project: there.

    Raises:
        UserError: the package is not installed, or nobody is logged in.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        try:
            self._wandb: Any = importlib.import_module("wandb")
            self._wandb.init  # noqa: B018 - it leaves folders of this name behind, which can be imported, too
        except (ImportError, AttributeError):
            raise UserError("--wandb needs the package wandb: `pip install wandb`; or leave --wandb out") from None
        self._run: Any = None
        if self._wandb.setup().settings.mode == "online":
            self._log_in()

    def _log_in(self) -> None:
        """Before there is a run; on a terminal it asks."""
        try:
            self._wandb.login()
        except self._wandb.errors.Error as error:
            raise _refused(error) from None

    def begin(self, training: Training, folder: Path, done: int) -> None:
        """Begin a run, or go on with it.

        Raises:
            UserError: it cannot be reached, or refuses.
        """
        path = folder / RUN_ID
        if not path.exists():
            write_atomically(path, secrets.token_hex(4))
        try:
            self._run = self._wandb.init(
                project=self._project,
                dir=str(folder),
                id=path.read_text(encoding="utf-8"),
                name=folder.resolve().name,
                config=training.configuration,
                resume="allow",
                settings=self._wandb.Settings(console="off", silent=True),
            )
        except self._wandb.errors.Error as error:
            raise _refused(error) from None
        see = f"wandb sync {Path(self._run.dir).parent}" if self._run.offline else self._run.url
        if see:
            print(f"wandb: {see}", file=sys.stderr)

    def hear(self, update: int, figures: Mapping[str, float]) -> None:
        """See `Listener`; what it was told before a kill stays there, and comes out the same again."""
        if update >= self._run.step:
            self._run.log(dict(figures), step=update)

    def note(self, text: str) -> None:
        """Not kept."""

    def end(self, failed: bool) -> None:
        """Send what is still to be sent."""
        if self._run:
            self._run.finish(exit_code=int(failed))


def _refused(error: Exception) -> UserError:
    said = str(error).rstrip(".")
    return UserError(f"--wandb: {said}; mend that (`wandb login`), set WANDB_MODE=offline, or leave --wandb out")
