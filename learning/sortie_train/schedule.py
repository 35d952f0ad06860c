"""What changes over the course of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sortie_core.config import Config


@dataclass(frozen=True)
class Schedule:
    """What changes over training, from the share of it that is over.

    Attributes:
        learning_rate: of Adam.
        temperature: of the attention.
        entropy: weight of the entropy.
        guidance: factor on the guidance term.
        scenarios: how many of train.scenarios take part.
    """

    learning_rate: float
    temperature: float
    entropy: float
    guidance: float
    scenarios: int

    @classmethod
    def at(cls, done: float, config: Config) -> Schedule:
        """The schedule when a share `done` in [0, 1) of training is over."""
        train, anneal = config.train, config.train.guidance_anneal_fraction
        first, last = config.policy.temperature
        most, least = train.entropy
        joined = done / train.curriculum_fraction if train.curriculum_fraction else 1.0
        return cls(
            learning_rate=train.learning_rate * (1 - done),
            temperature=first + (last - first) * done,
            entropy=most + (least - most) * done,
            guidance=min(1.0, (1 - done) / anneal) if anneal else 1.0,
            scenarios=min(len(train.scenarios), 1 + int(joined * len(train.scenarios))),
        )
