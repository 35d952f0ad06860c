"""Trainings read back from their event files, while they go on or later."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import yaml
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from sortie_core.config import UserError
from sortie_core.training import Curves, Training

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EVENTS = "events.out.tfevents.*"
_TEXTS = ("training/text_summary", "hyperparameters/text_summary")
_EVERYTHING = 0
# That a killed training left half a record behind, or went on from an earlier update, is nothing to warn of.
logging.getLogger("tensorboard").setLevel(logging.ERROR)


class TrainingReader:
    """A training's event files.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events = EventAccumulator(str(folder), size_guidance={SCALARS: _EVERYTHING})

    def read(self) -> Curves | None:
        """What it has told so far; None where it has said nothing yet.

        Raises:
            UserError: its event files are not from a training of this version.
        """
        self._events.Reload()
        if not set(_TEXTS) <= set(self._events.Tags()["tensors"]):
            if self._events.Tags()["scalars"]:
                raise UserError(f"{self.folder} holds event files, but not of a training of this version of Sortie")
            return None
        curves = Curves(self._training(), self.folder)
        curves.told_at_s = self._events.Tensors(_TEXTS[0])[-1].wall_time
        for name in self._events.Tags()["scalars"]:
            if points := self._events.Scalars(name):  # none, where all were told after the checkpoint it went on from
                curves.figures[name] = {point.step: point.value for point in points}
                curves.told_at_s = max(curves.told_at_s, points[-1].wall_time)
        return curves

    def _training(self) -> Training:
        texts = [self._events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in _TEXTS]
        try:
            return Training.from_texts(*(text.removeprefix("```yaml\n").removesuffix("```") for text in texts))
        except (ValueError, TypeError, KeyError, yaml.YAMLError):
            raise UserError(
                f"{self.folder} was trained by another version of Sortie, which named things otherwise"
            ) from None


def training_folders(path: Path) -> list[Path]:
    """The folders of trainings that a path means: itself, or those below it, as of a sweep."""
    if not path.is_dir():
        return []
    return sorted({file.parent for file in path.rglob(EVENTS)})


def load_trainings(paths: Sequence[Path]) -> list[Curves]:
    """What trainings have told.

    Args:
        paths: of trainings, or of folders that hold some; of the latter, those that have told nothing yet are left out.

    Raises:
        UserError: as of `TrainingReader.read`, or a training has told nothing yet.
    """
    found = []
    for path in paths:
        for folder in training_folders(path):
            curves = TrainingReader(folder).read()
            if curves and curves.done:
                found.append(curves)
            elif folder == path:
                raise UserError(f"{folder} holds a training that has told nothing yet; wait for its first update")
    return found
