"""A plot for each question: its figures over what is varied or over mission time, with the claims beside them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from sortie_train.agreement import AGREEMENT, REASSIGNED
from sortie_train.answers import value_label
from sortie_train.plots import method_colours, save
from sortie_train.questions import METHOD, OVER_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

    from sortie_train.answers import Answer
    from sortie_train.questions import Point

_STYLES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_PANELS_A_ROW = 3
_LINE_WIDTH = 52
"""Characters of a line of claims."""
_TEXT_LINE = 0.14
"""Height of a line of claims, inches."""


def plot_answer(path: Path, answer: Answer) -> None:
    """Write the plot of an answer as a PNG file."""
    figures = answer.question.figures
    columns = min(len(figures), _PANELS_A_ROW)
    rows = -(-len(figures) // columns)
    claims, n_lines = _claims(answer), len(list(_lines(answer)))
    beside = _TEXT_LINE * (claims.count("\n") + 3 + 1.3 * n_lines)
    figure = Figure(figsize=(4.6 * columns + 4.2, max(3.6 * rows, 4.2, beside)), layout="constrained")
    panels, words = np.asarray(figure.subfigures(1, 2, width_ratios=[4.6 * columns, 4.2]))
    panels.suptitle(answer.question.asks, fontsize="medium")
    axes = np.array(panels.subplots(rows, columns, squeeze=False)).ravel()
    for each, name in zip(axes, figures, strict=False):
        _over_time(each, answer, name) if name in OVER_TIME else _over_values(each, answer, name)
        each.grid(alpha=0.3)
        each.set_title(name.replace("_", " "), fontsize="small")
    for unused in axes[len(figures) :]:
        unused.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    words.legend(handles, labels, loc="lower left", fontsize="x-small", frameon=False, handlelength=4)
    words.text(0.02, 0.98, claims, fontsize="x-small", va="top")
    save(figure, path)


def _over_values(axes: Axes, answer: Answer, name: str) -> None:
    labels = [value_label(value) for value in answer.question.values]
    for points, style in _lines(answer):
        estimates = [answer.estimate(point, name) for point in points]
        mean = np.array([each.mean for each in estimates])
        bounds = np.array([[each.low, each.high] for each in estimates]).T
        error = np.nan_to_num(np.abs(bounds - mean), nan=0.0, posinf=0.0)
        axes.errorbar([point.value for point in points], mean, error, capsize=2, markersize=4, **style)
    axes.set_xticks(range(len(labels)), labels, rotation=20 if answer.question.vary == METHOD else 0)
    axes.set_xlabel(answer.question.vary)


def _over_time(axes: Axes, answer: Answer, name: str) -> None:
    """Curves at the last value and the first team size."""
    last, size = len(answer.question.values) - 1, answer.asked.sizes[0]
    every = answer.question.vary == "team.n_agents"
    for points, style in _lines(answer):
        point = points[0] if every else points[-1]
        if point.n_agents != size or (not every and point.value != last):
            continue
        config = answer.asked.flights[point][0].config
        values = answer.figures(point)[name]
        finite = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            curve = np.where(finite, values, 0.0).sum(axis=(0, 1)) / finite.sum(axis=(0, 1))
        tick_s = config.world.dt_s * (config.policy.decision_steps if name in (AGREEMENT, REASSIGNED) else 1)
        axes.plot(tick_s * np.arange(len(curve)), curve, **(style | {"marker": ""}))
    axes.set_xlabel(f"mission time, s ({size} drones)")


def _lines(answer: Answer) -> Iterator[tuple[list[Point], dict[str, Any]]]:
    """The points of each line, by value, and how it is drawn."""
    question, sizes = answer.question, answer.asked.sizes
    several = question.vary == METHOD
    colours = method_colours(list(question.cases) if several else question.flown)
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in answer.asked.flights:
        key = ("" if several else point.method, point.case, point.n_agents if answer.has_sizes else 0)
        groups.setdefault(key, []).append(point)
    for (method, case, n_agents), points in groups.items():
        parts = [method] * bool(method) + [case] * (len(question.cases) > 1)
        parts += [f"{n_agents} drones"] * bool(n_agents)
        yield (
            points,
            {
                "color": colours[case if several else points[0].method],
                "linestyle": _STYLES[list(question.cases).index(case) % len(_STYLES)],
                "marker": _MARKERS[sizes.index(n_agents) % len(_MARKERS) if n_agents else 0],
                "label": ", ".join(parts) or "mean",
            },
        )


def _claims(answer: Answer) -> str:
    blocks = []
    for verdict in answer.verdicts:
        measured = "; ".join(f"{label}: {estimate}" for label, estimate in verdict.measured.items())
        lines = [*textwrap.wrap(verdict.claim.says, _LINE_WIDTH), *textwrap.wrap(measured, _LINE_WIDTH)]
        blocks.append("\n".join([*lines, f"=> {verdict}"]))
    return "\n\n".join(blocks)
