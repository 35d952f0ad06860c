"""What a training tells while it goes on, and to whom: the same figures for every algorithm and every listener.

Figures have a group and a name, as TensorBoard shows them:

    train/     what it maximises (return), and what that is for: delivered
    reward/    the mean reward per agent and decision, by term
    loss/      what is minimised: policy, value, td, regularisation
    policy/    of the policy itself: entropy, kl, contraction_rate, exploration
    cluster/   how well agents agree
    expert/    how far the policy is from its teacher
    schedule/  what changes over training
    evaluate/  on what it is not trained on
    time/      steps_per_s, of the environments: ticks of drones, a router's decisions, runs of an evolution strategy;
               update_s, how long the update took with all that belongs to it

An update is what a trainer does between two tellings: a rollout and what is learned from it, a generation, an epoch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RETURN, DELIVERED = "train/return", "train/delivered"
MAXIMISED = (RETURN, DELIVERED)
"""Figures whose largest value is the best."""
STEPS_PER_S, UPDATE_S = "time/steps_per_s", "time/update_s"
EVALUATE = "evaluate/"
_RECENT = 20


@dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        algorithm: its name.
        unit: what its updates are called: updates, generations, epochs.
        total: how many there will be.
        headline: figures to look at first, at most four.
        configuration: data of all that it is trained with.
    """

    algorithm: str
    unit: str
    total: int
    headline: tuple[str, ...]
    configuration: dict[str, Any]

    def about(self) -> str:
        """All but the configuration, as YAML."""
        return yaml.safe_dump(
            {"algorithm": self.algorithm, "unit": self.unit, "total": self.total, "headline": list(self.headline)},
            sort_keys=False,
        )

    def hyperparameters(self) -> str:
        """The configuration as YAML."""
        return yaml.safe_dump(self.configuration, sort_keys=False)

    @classmethod
    def from_texts(cls, about: str, hyperparameters: str) -> Training:
        """What `about` and `hyperparameters` were written of.

        Raises:
            ValueError, TypeError, KeyError, yaml.YAMLError: they were not.
        """
        known = yaml.safe_load(about)
        return cls(
            algorithm=known["algorithm"],
            unit=known["unit"],
            total=int(known["total"]),
            headline=tuple(known["headline"]),
            configuration=yaml.safe_load(hyperparameters),
        )


class Listener(Protocol):
    """Somebody who is told how a training goes: a file, a terminal, a service."""

    def begin(self, training: Training, folder: Path, done: int) -> None:
        """It begins, or goes on.

        Args:
            training: what is trained.
            folder: of the run.
            done: updates that were done before; what was told of later ones is void.
        """

    def hear(self, update: int, figures: Mapping[str, float]) -> None:
        """Finite figures of an update, which count from 1; of the same update more may come."""

    def note(self, text: str) -> None:
        """What it is busy with beside updates, for people."""

    def end(self, failed: bool) -> None:
        """It is over, or broken off; called once, also where `begin` failed half-way."""


@dataclass
class Curves:
    """All that a training has told so far.

    Attributes:
        training: what is trained.
        folder: of the run.
        figures: value by update, by name; at least one of each.
        told_at_s: when it last told something, s since 1970; 0 for never.
    """

    training: Training
    folder: Path
    figures: dict[str, dict[int, float]] = field(default_factory=dict)
    told_at_s: float = 0.0

    def add(self, update: int, figures: Mapping[str, float]) -> None:
        """Figures of an update."""
        for name, value in figures.items():
            self.figures.setdefault(name, {})[update] = value

    def cut(self, done: int) -> None:
        """Forget what comes after so many updates."""
        for name, values in list(self.figures.items()):
            self.figures[name] = {update: value for update, value in values.items() if update <= done}
            if not self.figures[name]:
                del self.figures[name]

    @property
    def done(self) -> int:
        """Updates done."""
        return max(self.figures.get(UPDATE_S, {}), default=0)

    @property
    def spent_s(self) -> float:
        """Time that the updates took, without pauses between a kill and a resume, s."""
        return sum(self.figures.get(UPDATE_S, {}).values())

    @property
    def left_s(self) -> float:
        """What the rest will take at the pace of the latest updates, s; not-a-number before the first."""
        recent = list(self.figures.get(UPDATE_S, {}).values())[-_RECENT:]
        return (self.training.total - self.done) * sum(recent) / len(recent) if recent else math.nan

    def last(self, name: str) -> float | None:
        """The latest value of a figure."""
        values = self.figures.get(name)
        return values[max(values)] if values else None

    def best(self, name: str) -> tuple[int, float] | None:
        """The update with the largest value of a figure, and that value."""
        values = self.figures.get(name)
        return max(values.items(), key=lambda point: point[1]) if values else None


def shown(value: float) -> str:
    """A figure for people."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def shown_s(seconds: float) -> str:
    """A time for people: h:mm:ss."""
    if not math.isfinite(seconds):
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
