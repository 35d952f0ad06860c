"""How a training goes, as a line now and then, for logs and pipes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from sortie_core.training import STEPS_PER_S, UPDATE_S, Curves, shown, shown_s

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sortie_core.training import Training

_EVERY_S = 30.0


class ProgressLines:
    """Lines on stderr: the first update, one every half a minute, the last, and every evaluation."""

    def __init__(self, every_s: float = _EVERY_S) -> None:
        self._every_s = every_s
        self._said_s: float | None = None

    def begin(self, training: Training, folder: Path, done: int) -> None:
        """See `sortie_core.training.Listener`."""
        self._curves = Curves(training, folder)

    def hear(self, update: int, figures: Mapping[str, float]) -> None:
        """Say it if it is time."""
        self._curves.add(update, figures)
        if UPDATE_S not in figures:
            self._say(_listed(figures))
        elif update == self._curves.training.total or self._due():
            self._say(self._line(update))

    def note(self, text: str) -> None:
        """Likewise."""
        if self._due():
            self._say(text)

    def end(self, failed: bool) -> None:
        """Nothing more is said."""

    def _due(self) -> bool:
        return self._said_s is None or time.monotonic() - self._said_s >= self._every_s

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self._said_s = time.monotonic()

    def _line(self, update: int) -> str:
        curves, training = self._curves, self._curves.training
        known = {name: curves.last(name) for name in (*training.headline, STEPS_PER_S)}
        told = _listed({name: value for name, value in known.items() if value is not None})
        left = f"{shown_s(curves.left_s)} left" if update < training.total else "done"
        return f"{training.unit} {update}/{training.total}, {told}, {left}"


def _listed(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in figures.items())
