"""The table of a comparison: a row per policy, means over seeds with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from sortie_train.intervals import Bootstrap

if TYPE_CHECKING:
    from sortie_schedule.kept_runs import Row

RELATIVE = {"relative": "completion_mean_s", "relative_p99": "completion_p99_s"}
"""Figures that are those of a row over the reference's, run by run, and what they are made of."""


@dataclass(frozen=True)
class Summary:
    """Rows of all runs, as a table.

    Attributes:
        rows: one per policy, training seed and seed; the same seeds for every policy.
        columns: figures that are shown, with heading and digits; `RELATIVE` ones need a reference.
        samples: of the bootstrap.
        title: above the table.
        reference: the policy that relative figures refer to.
    """

    rows: list[Row]
    columns: dict[str, tuple[str, int]]
    samples: int
    title: str
    reference: str = ""

    def values(self, policy: str, figure: str) -> np.ndarray:
        """[training seeds, seeds] a figure of a policy, one training seed for what is not learned; NaN for None."""
        found: dict[int, list[float]] = {}
        for row in self.rows:
            if row["policy"] == policy:
                value = row[figure]
                found.setdefault(row.get("train_seed", 0), []).append(np.nan if value is None else value)
        return np.array(list(found.values()), float)

    def figure(self, policy: str, figure: str, than: str = "") -> tuple[float, float, float]:
        """Mean, and low and high of its 95 % interval.

        Args:
            policy: whose.
            figure: of a row, or one of `RELATIVE`.
            than: policy whose figure is subtracted, run by run; empty for none.
        """
        bootstrap = Bootstrap(self.samples, 0)
        if figure in RELATIVE:
            own, base = (self.values(name, RELATIVE[figure]) for name in (policy, self.reference))
            value, interval = float(own.mean() / base.mean()), bootstrap.ratio_interval(own, base)
        else:
            own = self.values(policy, figure) - (self.values(than, figure) if than else 0.0)
            known = own[np.isfinite(own)]
            value, interval = float(known.mean()) if len(known) else float("nan"), bootstrap.interval(own)
        return value, float(interval[0]), float(interval[1])

    @property
    def policies(self) -> list[str]:
        """In the order of the rows."""
        return list(dict.fromkeys(row["policy"] for row in self.rows))

    def table(self) -> Table:
        """For people."""
        table = Table(title=self.title, title_justify="left")
        table.add_column("policy", no_wrap=True)
        for heading, _ in self.columns.values():
            table.add_column(heading, justify="right")
        for policy in self.policies:
            table.add_row(policy, *self._cells(policy))
        return table

    def markdown(self) -> str:
        """For documents."""
        headings = ["policy", *(heading for heading, _ in self.columns.values())]
        lines = [f"{self.title}.", "", f"| {' | '.join(headings)} |", f"| --- |{' ---: |' * len(self.columns)}"]
        lines += [f"| {policy} | {' | '.join(self._cells(policy))} |" for policy in self.policies]
        return "\n".join(lines) + "\n"

    def _cells(self, policy: str) -> list[str]:
        cells = []
        for figure, (_, digits) in self.columns.items():
            value, low, high = self.figure(policy, figure)
            half = (high - low) / 2
            shown = f" ± {half:.{digits}f}" if half >= 0.5 * 10.0**-digits else ""
            cells.append(f"{value:.{digits}f}{shown}" if np.isfinite(value) else "-")
        return cells
