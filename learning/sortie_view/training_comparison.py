"""What trainings have in common and what tells them apart, as figures for tables and curves for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from sortie_core.training import EVALUATE, MAXIMISED, STEPS_PER_S, UPDATE_S, Curves, shown, shown_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

_MISSING = "–"
_COLUMNS = 3
_LEGEND_COLUMNS = 4
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class NamedTraining:
    """A training of a report.

    Attributes:
        name: unique among those reported together.
        curves: what it has told.
    """

    name: str
    curves: Curves

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.curves.folder

    def summary(self) -> dict[str, Any]:
        """For machines: how far it is, s, steps/s (the median), and of each figure the last value, and the best."""
        curves = self.curves
        speeds = list(curves.figures.get(STEPS_PER_S, {}).values())
        return {
            "name": self.name,
            "folder": str(self.folder),
            "algorithm": curves.training.algorithm,
            "unit": curves.training.unit,
            "done": curves.done,
            "total": curves.training.total,
            "seconds": curves.spent_s,
            "steps_per_s": median(speeds) if speeds else None,
            "last": {name: curves.last(name) for name in sorted(curves.figures)},
            "best": {name: {"update": best[0], "value": best[1]} for name in MAXIMISED if (best := curves.best(name))},
        }


def differences(trainings: Sequence[NamedTraining]) -> dict[str, list[Any]]:
    """Keys of the configurations that are not the same in all, with each one's value; None where it has no such key."""
    leaves = [dict(_leaves(each.curves.training.configuration)) for each in trainings]
    keys = dict.fromkeys(key for each in leaves for key in each)
    values = {key: [each.get(key) for each in leaves] for key in keys}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def table(trainings: Sequence[NamedTraining]) -> list[tuple[str, list[str]]]:
    """Rows for people, a cell for each training: what differs, how far they are, the last and the best figures."""
    rows = [(key, [_text(value) for value in values]) for key, values in differences(trainings).items()]
    found = [each.summary() for each in trainings]
    rows.append(("algorithm", [each["algorithm"] for each in found]))
    rows.append(("done", [f"{each['done']}/{each['total']} {each['unit']}" for each in found]))
    rows.append(("time, h:mm:ss", [shown_s(each["seconds"]) for each in found]))
    rows.append(("steps/s", [_text(each["steps_per_s"]) for each in found]))
    for name in _told_first(trainings):
        rows.append((f"{name}, last", [_text(each["last"].get(name)) for each in found]))
        bests = [each["best"].get(name) for each in found]
        if any(bests):
            cells = [f"{shown(each['value'])} at {each['update']}" if each else _MISSING for each in bests]
            rows.append((f"{name}, best", cells))
    return rows


def groups(trainings: Sequence[NamedTraining]) -> dict[str, list[str]]:
    """Figures by group, those that people look at first in front."""
    first = _told_first(trainings)
    names = dict.fromkeys([*first, *sorted({name for each in trainings for name in each.curves.figures})])
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.partition("/")[0], []).append(name)
    return found


def draw(figure: Figure, trainings: Sequence[NamedTraining], names: Sequence[str]) -> None:
    """Learning curves laid over each other, axes for each figure."""
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    for k, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, k + 1)
        for index, each in enumerate(trainings):
            points = sorted(each.curves.figures.get(name, {}).items())
            marker = "o" if len(points) == 1 else None  # as of an evaluation in the end
            style = _STYLES[index // 10 % len(_STYLES)]
            axes.plot(
                *(zip(*points, strict=True) if points else ([], [])),
                color=f"C{index % 10}", linestyle=style, marker=marker, linewidth=1,
            )  # fmt: skip
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel(trainings[0].curves.training.unit)
    if len(trainings) > 1:
        figure.legend(
            figure.axes[0].get_lines(), [each.name for each in trainings], loc="outside lower center",
            ncols=_LEGEND_COLUMNS, fontsize="small",
        )  # fmt: skip


def size_of(trainings: Sequence[NamedTraining], names: Sequence[str]) -> tuple[float, float]:
    """Of the picture that `draw` needs, inches."""
    columns = min(_COLUMNS, len(names))
    legend = 0.3 * -(-len(trainings) // _LEGEND_COLUMNS)
    return 4.2 * max(2, columns), 2.8 * -(-len(names) // columns) + legend


def _told_first(trainings: Sequence[NamedTraining]) -> list[str]:
    """Headline figures, then those of evaluations."""
    headline = dict.fromkeys(name for each in trainings for name in each.curves.training.headline)
    evaluated = sorted({name for each in trainings for name in each.curves.figures if name.startswith(EVALUATE)})
    known = {name for each in trainings for name in each.curves.figures} - {UPDATE_S, STEPS_PER_S}
    return [name for name in dict.fromkeys([*headline, *evaluated]) if name in known]


def _leaves(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if value is None:
        return _MISSING
    return shown(value) if isinstance(value, float) else str(value)
