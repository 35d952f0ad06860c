"""What flights say to a question: estimates with intervals at every point, and whether the claims come out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_policy.checkpoint import load_metadata
from sortie_train.after_events import AFTER_EVENTS
from sortie_train.intervals import Bootstrap
from sortie_train.questions import CONTRACTION, OVER_TIME, Asked, Point

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sortie_train.flights import Flight
    from sortie_train.play import Figures
    from sortie_train.questions import Claim


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; NaN where there is none, infinite for what never happens."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Mean and interval."""
        if not np.isfinite(self.mean):
            return "-" if np.isnan(self.mean) else "never"
        mean, low, high = (f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" for value in vars(self).values())
        return f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Verdict:
    """A claim held against the answer.

    Attributes:
        claim: what was claimed.
        measured: the figure at each point that the claim is about, by its label.
        holds: it comes out at all of them; None where nothing decides.
        clear: so say the intervals too.
    """

    claim: Claim
    measured: dict[str, Estimate]
    holds: bool | None
    clear: bool

    def __str__(self) -> str:
        """In words."""
        if self.holds is None:
            return "not decided by a figure"
        return ("comes out" if self.holds else "does not come out") + ("" if self.clear else ", within the interval")


class Answer:
    """The answer to a question.

    Args:
        asked: the question with its flights.
        results: the figures of all flights.
    """

    def __init__(self, asked: Asked, results: dict[Flight, Figures]) -> None:
        self.asked, self.question = asked, asked.question
        self.bootstrap = Bootstrap(asked.config.evaluation.bootstrap_samples, asked.config.seed)
        self._results = results

    def figures(self, point: Point) -> Figures:
        """The figures at a point, [S, L, ...] by training seed and layout."""
        flown = [self._results[flight] for flight in self.asked.flights[point]]
        return {name: np.stack([each[name] for each in flown]) for name in flown[0]}

    def estimate(self, point: Point, figure: str) -> Estimate:
        """A figure at a point; that of a curve is its mean over time."""
        if figure in AFTER_EVENTS:
            return self._after_event(point, figure)
        values = self._table(point, figure)
        finite = values[np.isfinite(values)]
        return Estimate(float(finite.mean()) if len(finite) else np.nan, *map(float, self.bootstrap.interval(values)))

    def _table(self, point: Point, figure: str) -> np.ndarray:
        """[S, L], or [S, 1] for what depends on the training alone."""
        if figure == CONTRACTION:
            flights = self.asked.flights[point]
            if not flights[0].learned:
                return np.full((1, 1), np.nan)
            paths = [flight.config.policy.checkpoint for flight in flights]
            return np.array([[float(load_metadata(path)["contraction_rate"])] for path in paths])
        return self.figures(point)[figure]

    def _after_event(self, point: Point, figure: str) -> Estimate:
        calm = point._replace(case=str(self.question.undisturbed))
        if calm == point:
            return Estimate(np.nan, np.nan, np.nan)
        disturbed, undisturbed = self.figures(point), self.figures(calm)
        config = self.asked.flights[point][0].config

        def all_of(values: np.ndarray) -> np.ndarray:
            finite = np.isfinite(values)
            with np.errstate(invalid="ignore"):
                return (np.where(finite, values, 0.0).sum(axis=(0, 1)) / finite.sum(axis=(0, 1)))[None]

        steps = AFTER_EVENTS[figure]
        drawn = steps(disturbed, undisturbed, config, self.bootstrap.means)
        # A draw that never gets over the event is longer than any number of steps.
        low, high = np.percentile(np.where(np.isnan(drawn), np.inf, drawn), [2.5, 97.5], method="nearest")
        mean = float(steps(disturbed, undisturbed, config, all_of)[0])
        return Estimate(np.inf if np.isnan(mean) else mean, float(low), float(high))

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The question's claims, each held against the answer."""
        return [self._verdict(claim) for claim in self.question.claims]

    def _verdict(self, claim: Claim) -> Verdict:
        if claim.figure is None:
            return Verdict(claim, {}, None, clear=True)
        measured = {
            self.label(point): self._compared(point, against, claim) for point, against in self.asked.claimed(claim)
        }
        low = -np.inf if claim.least is None else claim.least
        high = np.inf if claim.most is None else claim.most
        if any(np.isnan(each.mean) for each in measured.values()):
            return Verdict(claim, measured, None, clear=True)
        holds = [low <= each.mean <= high for each in measured.values()]
        clear = [low <= each.low and each.high <= high for each in measured.values()]
        missed = [each.high < low or each.low > high for each in measured.values()]
        return Verdict(claim, measured, all(holds), clear=all(clear) if all(holds) else any(missed))

    def _compared(self, point: Point, against: Point | None, claim: Claim) -> Estimate:
        figure = str(claim.figure)
        if against is None:
            return self.estimate(point, figure)
        own, its = np.broadcast_arrays(*(self._table(each, figure) for each in (point, against)))
        known = np.isfinite(own) & np.isfinite(its)  # missions of which both can tell
        if not known.any():
            return Estimate(np.nan, np.nan, np.nan)
        if claim.minus:
            apart = np.where(known, own - its, np.nan)
            return Estimate(float(apart[known].mean()), *map(float, self.bootstrap.interval(apart)))
        ratio = own[known].mean() / its[known].mean()
        own, its = (np.where(known, each, 0.0) for each in (own, its))
        return Estimate(float(ratio), *map(float, self.bootstrap.ratio_interval(own, its)))

    def label(self, point: Point) -> str:
        """Value, case and team size, as far as the question has several."""
        parts = [value_label(self.question.values[point.value])]
        parts += [point.case] if len(self.question.cases) > 1 else []
        parts += [f"{point.n_agents} drones"] if self.has_sizes else []
        return ", ".join(parts)

    @property
    def has_sizes(self) -> bool:
        """Whether there are several team sizes at each value."""
        return self.question.vary != "team.n_agents" and len(self.asked.sizes) > 1

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per point, with every figure of the question and its interval; None for what is not known."""
        figures = [figure for figure in self.question.figures if figure not in OVER_TIME]
        decided = [claim.figure for claim in self.question.claims if claim.figure]
        for point, flights in self.asked.flights.items():
            row: dict[str, Any] = {
                "question": self.asked.name,
                "vary": self.question.vary,
                "value": value_label(self.question.values[point.value]),
                "case": point.case,
                "n_agents": point.n_agents,
                "method": point.method,
                "n_train_seeds": len(flights) if flights[0].learned else 0,
                "n_layouts": flights[0].config.evaluation.n_layouts,
            }
            for figure in dict.fromkeys(["delivered_auc", "delivered_fraction", *figures, *decided]):
                estimate = self.estimate(point, figure)
                row[figure] = _known(estimate.mean)
                row[f"{figure}_ci95"] = [_known(estimate.low), _known(estimate.high)]
            yield row


def value_label(value: Any) -> str:
    """A value as people write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
