"""Where trainers tell how it goes: everything reaches all listeners, TensorBoard's event files always among them."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from sortie_core.training import UPDATE_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from torch.utils.tensorboard import SummaryWriter

    from sortie_core.training import Listener, Training


class TrainingLog:
    """What a training tells, for a block of code.

    Args:
        training: what is trained.
        folder: of the run.
        done: updates done before.
        listeners: who hears of it beside the event files.
        leads: False in processes that train along and have nothing to tell; then nobody hears anything.
    """

    def __init__(
        self, training: Training, folder: Path, done: int, listeners: Sequence[Listener] = (), *, leads: bool = True
    ) -> None:
        self.training, self.folder, self.done = training, folder, done
        self._listeners: list[Listener] = [EventFiles(), *listeners] if leads else []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        try:
            for each in self._listeners:
                self._open.push(lambda kind, _error, _trace, end=each.end: end(kind is not None))
                each.begin(self.training, self.folder, self.done)
        except BaseException as error:
            self._open.__exit__(type(error), error, error.__traceback__)
            raise
        self._last_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def tell(self, update: int, figures: Mapping[str, float]) -> None:
        """Figures of an update; those that are not finite are left out, and how long it took is added.

        Args:
            update: counts from 1; figures of an evaluation come with the number of the update they follow.
            figures: by group/name.
        """
        known = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        if update > self.done:
            now_s = time.perf_counter()
            known[UPDATE_S] = now_s - self._last_s
            self.done, self._last_s = update, now_s
        for each in self._listeners:
            each.hear(update, known)

    def note(self, text: str) -> None:
        """What the training is busy with beside updates."""
        for each in self._listeners:
            each.note(text)


class EventFiles:
    """TensorBoard's event files in the folder of the run; `sortie watch` and `sortie report` read them, too."""

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None

    def begin(self, training: Training, folder: Path, done: int) -> None:
        """What an earlier process wrote of later updates is void: readers drop it."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder, purge_step=done + 1)
        if not done:
            self._writer.add_text("training", fenced(training.about()), 0)
            self._writer.add_text("hyperparameters", fenced(training.hyperparameters()), 0)
        self._writer.flush()

    def hear(self, update: int, figures: Mapping[str, float]) -> None:
        """See `Listener`."""
        assert self._writer is not None
        for name, value in figures.items():
            self._writer.add_scalar(name, value, update)
        self._writer.flush()  # others watch, and what is saved next must not be ahead of the curves after a kill

    def note(self, text: str) -> None:
        """Not kept."""

    def end(self, failed: bool) -> None:
        """Write what is still to be written."""
        if self._writer:
            self._writer.close()


def fenced(text: str) -> str:
    """YAML as TensorBoard shows it, which reads Markdown."""
    return f"```yaml\n{text}```"
