"""The table of an evaluation: a row per method, over the same layouts, with intervals and paired differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_train.intervals import Bootstrap
    from sortie_train.play import Figures

BEST = "best_reference"
"""The row of the best reference of each layout."""
HEADLINE = "delivered_auc"
FIGURES = {
    "delivered_auc_mean": "delivered_auc",
    "delivered_mean": "delivered_fraction",
    "deliverable_mean": "deliverable_fraction",
    "return_mean": "return",
    "time_to_90_s": "time_to_90_s",
    "collisions_per_agent_min": "collisions_per_agent_minute",
    "bytes_per_agent_s": "bytes_per_agent_s",
    "min_separation_m": "min_separation_m",
    "energy_proxy": "energy_proxy",
    "shielded_share": "shielded_share",
}
"""Keys of a row, and the figures whose means over seeds and layouts they are; time_to_90_s where it was reached, and
shielded_share where drones fly through safety gates."""


_PIPE_WIDTH = 200


@dataclass(frozen=True)
class Contest:
    """What all methods did on the same layouts.

    Attributes:
        suite: name of the suite.
        n_agents: team size.
        backend: the world.
        figures: method -> the figures of `play.play`, [S, L] by training seed and layout; S is 1 without training.
        train_seeds: trained methods, each with the number of its training seeds.
        bootstrap: for the intervals.
    """

    suite: str
    n_agents: int
    backend: str
    figures: dict[str, Figures]
    train_seeds: dict[str, int]
    bootstrap: Bootstrap

    @property
    def subject(self) -> str | None:
        """The method whose differences to the others are shown: the first trained one."""
        return next((method for method in self.figures if method in self.train_seeds), None)

    def rows(self) -> list[dict[str, Any]]:
        """One row per method, with None for what is not known.

        Keys: suite, method, n_agents, n_train_seeds, n_layouts, backend; those of `FIGURES`, each with its 95 %
        interval under ``..._ci95`` (without ``_mean``); std_over_seeds, the standard deviation of delivered_auc over
        training seeds; reached_90, the share of missions that delivered 90 %; and for all methods but the subject, e.g.
        lgtc, the paired lgtc_minus_this_delivered_auc, lgtc_minus_this_delivered and, as a ratio of means,
        lgtc_over_this_delivered_auc and lgtc_over_this_delivered, with intervals.

        After the methods, where there is more than one reference, comes `BEST`: on each layout the most that any of
        them delivered, and the soonest that any delivered 90 %; its other figures are those of the layout's best in
        time-averaged delivery. No single method reaches it.
        """
        references = [self.figures[method] for method in self.figures if method not in self.train_seeds]
        shown = self.figures | ({BEST: _best(references)} if len(references) > 1 else {})
        return [self._row(method, figures) for method, figures in shown.items()]

    def _row(self, method: str, figures: Figures) -> dict[str, Any]:
        headline = figures[HEADLINE]
        row: dict[str, Any] = {
            "suite": self.suite,
            "method": method,
            "n_agents": self.n_agents,
            "n_train_seeds": self.train_seeds.get(method, 0),
            "n_layouts": headline.shape[1],
            "backend": self.backend,
        }
        for key, figure in FIGURES.items():
            if figure not in figures:
                continue
            row[key] = _known(_mean(figures[figure]))
            row[_interval_key(key)] = _pair(self.bootstrap.interval(figures[figure]))
        several = len(headline) > 1
        row["std_over_seeds"] = float(headline.mean(axis=1).std(ddof=1)) if several else None
        row["reached_90"] = float(np.isfinite(figures["time_to_90_s"]).mean())
        if self.subject not in (None, method):
            row |= self._comparison(str(self.subject), figures)
        return row

    def _comparison(self, subject: str, figures: Figures) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, figure in (("delivered_auc", HEADLINE), ("delivered", "delivered_fraction")):
            own, other = self.figures[subject][figure], figures[figure]
            row[f"{subject}_minus_this_{name}"] = float((own - other).mean())
            row[f"{subject}_minus_this_{name}_ci95"] = _pair(self.bootstrap.interval(own - other))
            row[f"{subject}_over_this_{name}"] = _known(float(own.mean() / other.mean()) if other.any() else np.nan)
            row[f"{subject}_over_this_{name}_ci95"] = _pair(self.bootstrap.ratio_interval(own, other))
        return row


def _best(references: list[Figures]) -> Figures:
    stacked = {name: np.stack([each[name] for each in references]) for name in references[0]}
    winner = stacked[HEADLINE].argmax(axis=0, keepdims=True)
    best = {name: np.take_along_axis(values, winner, 0)[0] for name, values in stacked.items() if values.ndim == 3}
    best["delivered_fraction"] = stacked["delivered_fraction"].max(axis=0)
    best["time_to_90_s"] = np.fmin.reduce(stacked["time_to_90_s"], axis=0)
    return best


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _pair(bounds: np.ndarray) -> list[float | None]:
    return [_known(float(bound)) for bound in bounds]


def _interval_key(key: str) -> str:
    return f"{key.removesuffix('_mean')}_ci95"


def console_for_tables() -> Console:
    """Where tables are printed: as wide as the terminal, and wide enough for all columns where there is none."""
    console = Console()
    console.width = max(console.width, 0 if console.is_terminal else _PIPE_WIDTH)
    return console


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """A printable table per suite and team size.

    Args:
        rows: of `Contest.rows`, in their order.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["suite"], row["n_agents"], row["backend"]), []).append(row)
    return [_table(group) for group in groups.values()]


def _table(rows: list[dict[str, Any]]) -> Table:
    first = rows[0]
    subject = next((row["method"] for row in rows if row["n_train_seeds"]), None)
    caption = f"mean [95 % interval]; the stock allows {first['deliverable_mean']:.3f} delivered"
    if any(row["method"] == BEST for row in rows):
        caption += f"\n{BEST}: of each layout, in hindsight; no single method reaches it"
    title = (
        f"{first['suite']}: {first['n_layouts']} unseen layouts, {first['n_agents']} drones, {first['backend']} world"
    )
    shown = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    shown.add_column("method", no_wrap=True)
    cells = [_cells(row, subject) for row in rows]
    for heading in dict.fromkeys(heading for each in cells for heading in each):
        shown.add_column(heading, justify="right")
    for row, each in zip(rows, cells, strict=True):
        shown.add_row(row["method"], *each.values(), style="dim" if row["method"] == BEST else None)
    return shown


def _cells(row: dict[str, Any], subject: str | None) -> dict[str, str]:
    """What is shown of a row, by heading; all rows have the same headings."""
    reached = "" if row["reached_90"] == 1 else f" in {row['reached_90']:.0%}"
    cells = {
        "delivered, time average": _cell(row, "delivered_auc_mean", 3),
        "delivered": _cell(row, "delivered_mean", 3),
        "to 90 %, s": "-" if row["time_to_90_s"] is None else f"{row['time_to_90_s']:.1f}{reached}",
        "collisions /agent-min": _cell(row, "collisions_per_agent_min", 2),
        **({"changed by the shield": f"{row['shielded_share']:.1%}"} if "shielded_share" in row else {}),
        "return": f"{row['return_mean']:.3f}",
        "bytes /agent-s": f"{row['bytes_per_agent_s']:.0f}",
    }
    if subject:
        std, key = row["std_over_seeds"], f"{subject}_minus_this_delivered_auc"
        cells["training seeds: std"] = "" if std is None else f"{row['n_train_seeds']}: {std:.4f}"
        cells[f"{subject} minus this, time average"] = _cell(row, key, 3) if key in row else ""
    return cells


def _cell(row: dict[str, Any], key: str, digits: int) -> str:
    low, high = row[_interval_key(key)]
    return f"{row[key]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """An evaluation in two tables to be shown elsewhere, a row per method and a column per suite and team size.

    The first has the delivered share / its time average, and the standard deviation of the latter over training seeds;
    the second the paired lead of the first trained method over the others in time average, where there is one.

    Args:
        rows: of `Contest.rows`, in their order.
    """
    subject = next((row["method"] for row in rows if row["n_train_seeds"]), None)
    shares = f"Delivered share / its time average (± standard deviation over training seeds).\n\n{_grid(rows, _shares)}"
    if subject is None:
        return shares
    key = f"{subject}_minus_this_{HEADLINE}"

    def lead(row: dict[str, Any]) -> str:
        low, high = row[_interval_key(key)]
        return f"{_short(row[key], '+')} [{_short(low)}, {_short(high)}]"

    title = f"{subject} minus this in time average, paired [95 % interval]."
    return f"{shares}\n{title}\n\n{_grid([row for row in rows if key in row], lead)}"


def _grid(rows: list[dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> str:
    cells = {(row["method"], row["suite"], row["n_agents"]): cell(row) for row in rows}
    seeds = {row["method"]: row["n_train_seeds"] for row in rows}
    contests = list(dict.fromkeys((row["suite"], row["n_agents"]) for row in rows))
    lines = [["method", "seeds", *(f"{suite}, {n_agents} drones" for suite, n_agents in contests)]]
    lines.append(["---"] * len(lines[0]))
    for method, count in seeds.items():
        lines.append([method, str(count or ""), *(cells.get((method, *contest), "") for contest in contests)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shares(row: dict[str, Any]) -> str:
    both = " / ".join(_short(row[key]) for key in ("delivered_mean", "delivered_auc_mean"))
    return both if row["std_over_seeds"] is None else f"{both} ± {_short(row['std_over_seeds'])}"


def _short(share: float, sign: str = "") -> str:
    return f"{share:{sign}.3f}".replace("0.", ".", 1)
