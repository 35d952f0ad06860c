"""Shows trainings that run elsewhere, or have ended, on the terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from sortie_core.config import UserError
from sortie_view.training_dashboard import Moment, dashboard, overview
from sortie_view.training_data import EVENTS, TrainingReader, training_folders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console, RenderableType


def watch(paths: Sequence[Path], console: Console, every_s: float) -> None:
    """Show trainings until Ctrl-C; where nobody looks, as they are now.

    Args:
        paths: folders of trainings or of sweeps, which may still grow.
        console: where to.
        every_s: between two looks, s.

    Raises:
        UserError: there is no training, or not one of this version.
    """
    watched = _Watched(paths, console)
    if not console.is_terminal:
        console.print(watched.look())
        return
    try:
        with Live(watched.look(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                time.sleep(every_s)
                live.update(watched.look(), refresh=True)
    except KeyboardInterrupt:
        return


class _Watched:
    """The trainings of some folders, each read on from where it was."""

    def __init__(self, paths: Sequence[Path], console: Console) -> None:
        self._paths, self._console = paths, console
        self._readers: dict[Path, TrainingReader] = {}

    def look(self) -> RenderableType:
        """What there is to see now."""
        folders = [folder for path in self._paths for folder in self._found(path)]
        moments = []
        for folder in dict.fromkeys(folders):
            curves = self._readers.setdefault(folder, TrainingReader(folder)).read()
            if curves:
                moments.append(Moment(curves, max(0.0, time.time() - curves.told_at_s)))
        if not moments:
            return Text("nothing told yet")
        if len(moments) > 1:
            return overview(moments, self._console.width)
        return dashboard(moments[0], self._console.height - 1, self._console.width)

    @staticmethod
    def _found(path: Path) -> list[Path]:
        if found := training_folders(path):
            return found
        raise UserError(f"{path} holds no training ({EVENTS}); name the --out folder of one, or of a sweep")
