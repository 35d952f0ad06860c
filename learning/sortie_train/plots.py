"""Plots of an evaluation."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sortie_core.files import write_atomically
from sortie_train.play import CURVE
from sortie_train.table import BEST

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from sortie_train.table import Contest

_SHOWN = "delivered_auc_mean", "delivered_auc_ci95", "delivered, time average"


def plot(folder: Path, contests: list[Contest], rows: list[dict[str, Any]], dt_s: float) -> None:
    """Write the plots as PNG files: over mission time and as bars for each contest, over team size for each suite.

    Args:
        folder: where they go.
        contests: of the evaluation.
        rows: their rows, in the same order.
        dt_s: of a tick.
    """
    colours = method_colours([method for contest in contests for method in contest.figures])
    for contest in contests:
        name = f"{contest.suite}-{contest.n_agents}"
        own = [row for row in rows if (row["suite"], row["n_agents"]) == (contest.suite, contest.n_agents)]
        figure = Figure(figsize=(8, 5), layout="constrained")
        _over_time(figure.subplots(), contest, dt_s, colours)
        save(figure, folder / f"{name}-time.png")
        figure = Figure(figsize=(8, 1 + 0.3 * len(own)), layout="constrained")
        _bars(figure.subplots(), own, colours)
        save(figure, folder / f"{name}-bars.png")
    for suite in dict.fromkeys(contest.suite for contest in contests):
        own = [row for row in rows if row["suite"] == suite]
        if len({row["n_agents"] for row in own}) > 1:
            figure = Figure(figsize=(8, 5), layout="constrained")
            _over_team_size(figure.subplots(), own, colours)
            save(figure, folder / f"{suite}-team-size.png")


def _over_time(axes: Axes, contest: Contest, dt_s: float, colours: dict[str, Any]) -> None:
    for method, figures in contest.figures.items():
        curve = figures[CURVE]
        low, high = contest.bootstrap.interval(curve)
        time_s = dt_s * np.arange(curve.shape[2])
        style = "-" if method in contest.train_seeds else "--"
        axes.plot(time_s, curve.mean(axis=(0, 1)), style, color=colours[method], label=method)
        axes.fill_between(time_s, low, high, color=colours[method], alpha=0.15, linewidth=0)
    axes.set(xlabel="mission time, s", ylabel="delivered share", xlim=(0, None), ylim=(0, 1))
    _finish(axes, _title(contest.suite, contest.n_agents))


def _bars(axes: Axes, rows: list[dict[str, Any]], colours: dict[str, Any]) -> None:
    mean, interval, label = _SHOWN
    ordered = sorted(rows, key=lambda row: row[mean])
    values = np.array([row[mean] for row in ordered])
    bounds = np.array([row[interval] for row in ordered])
    axes.barh(
        [row["method"] for row in ordered], values, color=[colours[row["method"]] for row in ordered],
        xerr=np.abs(bounds.T - values), capsize=2,
    )  # fmt: skip
    axes.set(xlabel=label, xlim=(0, None), title=_title(rows[0]["suite"], rows[0]["n_agents"]))
    axes.grid(axis="x", alpha=0.3)


def _over_team_size(axes: Axes, rows: list[dict[str, Any]], colours: dict[str, Any]) -> None:
    mean, interval, label = _SHOWN
    for method in dict.fromkeys(row["method"] for row in rows):
        own = sorted((row for row in rows if row["method"] == method), key=lambda row: row["n_agents"])
        values = np.array([row[mean] for row in own])
        error = np.abs(np.array([row[interval] for row in own]).T - values)
        style = "o-" if own[0]["n_train_seeds"] else "s--"
        sizes = [row["n_agents"] for row in own]
        axes.errorbar(sizes, values, error, fmt=style, color=colours[method], label=method, capsize=2, markersize=4)
    sizes = sorted({row["n_agents"] for row in rows})
    axes.set(xscale="log", xlabel="drones", ylabel=label)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    _finish(axes, rows[0]["suite"])


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)


def _title(suite: str, n_agents: int) -> str:
    return f"{suite}, {n_agents} drones"


def method_colours(methods: list[str]) -> dict[str, Any]:
    """A colour for each method, the same in all plots."""
    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    colours = {method: palette[index % len(palette)] for index, method in enumerate(dict.fromkeys(methods))}
    return colours | {BEST: "0.6"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    write_atomically(path, data.getvalue())
