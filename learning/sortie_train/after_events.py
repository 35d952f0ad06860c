"""How long a team needs to get over an event: figures of many missions together, held against the same without it.

Single missions deliver in lumps, so that rates are those of means over missions (this project's definitions).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.config import UserError
from sortie_train.agreement import AGREEMENT, REASSIGNED
from sortie_train.play import CURVE, STOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_train.play import Figures

    Mean = Callable[[np.ndarray], np.ndarray]
    """[K, ...] means of [S, L, ...]: the one of all, or one of each bootstrap draw."""

_REGAINED = 0.9
_AGREED = 0.95
_RESTLESS = 0.05
_BEFORE_WINDOWS = 3


def recovery_steps(disturbed: Figures, undisturbed: Figures, config: Config, mean: Mean) -> np.ndarray:
    """Ticks from the sudden loss until 90 % of the delivery rate is regained.

    That is, until the rate over the next decision is 0.9 of the rate before the loss, over three decisions; or of what
    the remaining stock allows where that is less: the rate of the undisturbed team at that time, times the share of its
    stock that was left after the loss.

    Args:
        disturbed: figures of `play.play`, [S, L, ...].
        undisturbed: the same missions without the loss.
        config: of the disturbed missions.
        mean: over seeds and missions.

    Returns:
        [K], NaN where it is not regained.
    """
    start, window = _tick(config, "team.sudden_loss_s", config.team.sudden_loss_s), config.policy.decision_steps
    with_loss, without = mean(disturbed[CURVE]), mean(undisturbed[CURVE])
    left = mean(disturbed[STOCK])[:, start + 1] / mean(undisturbed[STOCK])[:, start + 1]
    since = max(0, start - _BEFORE_WINDOWS * window)
    rate_before = (with_loss[:, start] - with_loss[:, since]) * window / (start - since)
    rate, usual = (curve[:, start + window :] - curve[:, start:-window] for curve in (with_loss, without))
    allowed = np.minimum(rate_before[:, None], left[:, None] * usual)
    return _first(rate >= _REGAINED * allowed)


def settling_steps(disturbed: Figures, undisturbed: Figures, config: Config, mean: Mean) -> np.ndarray:
    """Ticks from the change of demand until the new assignment is stable and as good as a fresh central one.

    That is, until the first decision in which the choices' agreement with a fresh central auction is 0.95 of that of
    the undisturbed team, and the share of the agents that changes its choice is at most 0.05 above the undisturbed one.

    Args:
        disturbed: figures of `play.play` with evaluation.agreement, [S, L, ...].
        undisturbed: the same missions without the change.
        config: of the disturbed missions.
        mean: over seeds and missions.

    Returns:
        [K], NaN where it never is.
    """
    start, every = _tick(config, "task.demand_change_s", config.task.demand_change_s), config.policy.decision_steps
    agreed = mean(disturbed[AGREEMENT]) >= _AGREED * mean(undisturbed[AGREEMENT])
    calm = mean(disturbed[REASSIGNED]) <= mean(undisturbed[REASSIGNED]) + _RESTLESS
    first = math.ceil(start / every)
    return _first((agreed & calm)[:, first:]) * every + (first * every - start)


AFTER_EVENTS = {"recovery_steps": recovery_steps, "settling_steps": settling_steps}


def _tick(config: Config, key: str, when_s: list[float]) -> int:
    if when_s[0] != when_s[1]:
        raise UserError(f"{key}: {when_s} is no single moment, from which steps can be counted; give it twice")
    tick = round(when_s[0] / config.world.dt_s)
    if tick < config.policy.decision_steps:
        raise UserError(f"{key}: {when_s[0]:g} s leaves no time before the event to compare with; let it happen later")
    return tick


def _first(holds: np.ndarray) -> np.ndarray:
    """[K] index of the first True in each row of [K, T], NaN where there is none."""
    return np.where(holds.any(axis=1), holds.argmax(axis=1), np.nan)
