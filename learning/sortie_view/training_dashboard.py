"""How a training goes, on a terminal: progress, curves, the latest figures, and where to see more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sortie_core.training import STEPS_PER_S, UPDATE_S, Curves, shown, shown_s
from sortie_view.braille import curve
from sortie_view.training_data import TrainingReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console, RenderableType

    from sortie_core.training import Training

_REFRESH_PER_S = 0.5
"""A picture takes 10 ms, which training has to do without."""
_MOST_LINES = 32
_LEAST_LINES = 8
_LABEL = 9
"""Width of the numbers beside a curve."""
_FIGURE_LINES = 8
_SILENT_S, _SILENT_UPDATES = 60.0, 5.0
"""A training that has not told anything for so long, and for as long as so many updates take, may have been killed."""


@dataclass(frozen=True)
class Moment:
    """How things stand.

    Attributes:
        curves: what the training has told.
        silent_s: since it last told something, s.
        note: what it is busy with.
        live: whether it runs in this process.
    """

    curves: Curves
    silent_s: float
    note: str = ""
    live: bool = False

    @property
    def state(self) -> str:
        """In words."""
        curves = self.curves
        if curves.done >= curves.training.total:
            return self.note or "done"
        if self.live:
            return self.note or "training"
        pace_s = curves.spent_s / max(1, curves.done)
        silent = self.silent_s > max(_SILENT_S, _SILENT_UPDATES * pace_s)
        return f"silent for {shown_s(self.silent_s)}" if silent else "training"


def dashboard(moment: Moment, height: int, width: int) -> RenderableType:
    """One training.

    Args:
        moment: how it stands.
        height: lines that it may take.
        width: columns that it has.
    """
    lines = max(_LEAST_LINES, min(height, _MOST_LINES))
    known = [name for name in moment.curves.training.headline if name in moment.curves.figures]
    with_figures = lines >= 2 * _LEAST_LINES
    layout = Layout()
    layout.split_column(
        Layout(ProgressBar(total=moment.curves.training.total, completed=moment.curves.done), size=1),
        Layout(_progress(moment), size=1),
        Layout(name="curves"),
        Layout(_figures(moment.curves), size=_FIGURE_LINES, visible=with_figures, name="figures"),
        Layout(_advice(moment), size=2, name="advice"),
    )
    below = 4 + (_FIGURE_LINES if with_figures else 0)
    rows = [known[:2], known[2:4]] if lines - 2 - below >= 8 and known[2:] else [known[:2]]
    each = (lines - 2 - below) // len(rows)
    layout["curves"].split_column(*[_row(moment.curves, row, each, width - 4) for row in rows])
    title = f"{moment.curves.training.algorithm} · {moment.curves.folder}"
    return Panel(layout, title=title, title_align="left", height=lines, border_style="dim")


def overview(moments: Sequence[Moment], width: int) -> RenderableType:
    """Several trainings, a line for each, with the first of their figures.

    Args:
        moments: how they stand.
        width: columns that there are.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("training", "done", "figure", "", "steps/s", "left", ""):
        table.add_column(heading, justify="right" if heading in ("done", "steps/s", "left") else "left", no_wrap=True)
    for moment in moments:
        curves = moment.curves
        name = next((each for each in curves.training.headline if each in curves.figures), "")
        last, speed = curves.last(name), curves.last(STEPS_PER_S)
        table.add_row(
            curves.folder.name,
            f"{curves.done}/{curves.training.total}",
            "" if last is None else f"{name} {shown(last)}",
            Text(curve(_values(curves, name), max(8, width // 8), 1)[0], style="cyan"),
            "" if speed is None else shown(speed),
            shown_s(curves.left_s),
            moment.state,
        )
    return table


class TrainingDashboard:
    """The dashboard of a training in this process; what is last shown stays on the terminal.

    Args:
        console: a terminal's.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def begin(self, training: Training, folder: Path, done: int) -> None:
        """Show it, with what was told before."""
        earlier = TrainingReader(folder).read() if done else None
        self._curves = earlier or Curves(training, folder)
        self._curves.cut(done)
        self._note, self._told_s = "", time.monotonic()
        self._live = Live(
            console=self._console,
            get_renderable=self._now,
            refresh_per_second=_REFRESH_PER_S,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def hear(self, update: int, figures: Mapping[str, float]) -> None:
        """Shown at the next refresh."""
        self._curves.add(update, figures)
        self._note, self._told_s = "", time.monotonic()

    def note(self, text: str) -> None:
        """Likewise."""
        self._note = text

    def end(self, failed: bool) -> None:
        """Leave the terminal as it was, below what was shown."""
        if self._live:
            self._live.stop()

    def _now(self) -> RenderableType:
        moment = Moment(self._curves, time.monotonic() - self._told_s, self._note, live=True)
        return dashboard(moment, self._console.height - 1, self._console.width)


def _progress(moment: Moment) -> RenderableType:
    curves = moment.curves
    training, done = curves.training, curves.done
    spent_s, left_s = curves.spent_s, curves.left_s
    if moment.live and done < training.total:
        spent_s, left_s = spent_s + moment.silent_s, max(left_s - moment.silent_s, 0.0)  # not-a-number stays that
    speed = curves.last(STEPS_PER_S)
    told = [
        f"{training.unit} {done}/{training.total}",
        f"{shown_s(spent_s)} spent, {shown_s(left_s)} left",
        "" if speed is None else f"{shown(speed)} steps/s",
        moment.state,
    ]
    return Text("   ".join(each for each in told if each), no_wrap=True, overflow="ellipsis")


def _row(curves: Curves, names: Sequence[str], height: int, width: int) -> Layout:
    row = Layout()
    each = width // max(1, len(names))
    row.split_row(
        *[Layout(_curve(curves, name, height, each)) for name in names] or [Layout(Text("no figure yet", style="dim"))]
    )
    return row


def _curve(curves: Curves, name: str, height: int, width: int) -> RenderableType:
    """A figure's curve below its name and latest value, with its least and largest value beside it."""
    values = _values(curves, name)
    heading = Text.assemble((name, "bold"), "  ", (shown(values[-1]), "cyan"), no_wrap=True, overflow="ellipsis")
    drawn = curve(values, max(1, width - _LABEL - 2), max(1, height - 1))
    labels = {len(drawn) - 1: shown(min(values)), 0: shown(max(values))}
    lines = [f"{labels.get(k, ''):>{_LABEL}} {line}" for k, line in enumerate(drawn)]
    return Group(heading, Text("\n".join(lines), no_wrap=True))


def _values(curves: Curves, name: str) -> list[float]:
    return [value for _, value in sorted(curves.figures.get(name, {}).items())]


def _figures(curves: Curves) -> RenderableType:
    """The latest of all figures but those that are shown anyway."""
    cells = []
    for name in sorted(curves.figures):
        last = curves.last(name)
        if last is not None and name not in (STEPS_PER_S, UPDATE_S):
            group, _, rest = name.partition("/")
            cells.append(Text.assemble((f"{group}/", "dim"), rest, " ", (shown(last), "cyan"), no_wrap=True))
    return Columns(cells, column_first=True, expand=True)


def _advice(moment: Moment) -> RenderableType:
    curves, folder = moment.curves, moment.curves.folder
    told = [f"tensorboard --logdir {folder}", f"sortie report {folder}"]
    if not moment.live:
        told.append("Ctrl-C ends watching, not the training")
    elif curves.done < curves.training.total:
        told.append("Ctrl-C breaks it off, --resume goes on")
    return Text("\n" + "   ·   ".join(told), style="dim", no_wrap=True, overflow="ellipsis")
