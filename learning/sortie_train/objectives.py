"""The reward as one objective per resource kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_core.observation import pad

if TYPE_CHECKING:
    from torch import Tensor

    from sortie_core.config import Config
    from sortie_core.state import WorldState

_TINY = 1e-6


def by_kind(before: WorldState, after: WorldState, reward: Tensor, config: Config) -> Tensor:
    """A tick's reward, split such that the objectives sum up to it (this project's design).

    Demand reduction and own delivery are those of each kind; all else is shared evenly among the kinds that are asked
    for. So equal weights for the objectives give the very reward that single-objective methods get, and what differs is
    that a critic may tell the kinds apart.

    Args:
        before: the missions before the tick.
        after: the missions after it.
        reward: [B, N] the sum of the weighted terms.
        config: for the weights.

    Returns:
        [B, N, R*].
    """
    asked = after.demand.sum(1)
    total = asked.sum(-1).clamp(min=_TINY)[:, None, None]
    less = (before.unmet - after.unmet + after.demand - before.demand).sum(1)
    reduced = less[:, None] * before.alive[..., None]
    own = (after.delivered - before.delivered) * after.present.sum(1)[:, None, None]
    split = (config.reward.demand * reduced + config.reward.own_delivery * own) / total
    exists = (asked > 0).to(split.dtype)
    share = exists / exists.sum(-1, keepdim=True).clamp(min=1.0)
    rest = reward - split.sum(-1)
    return pad(split + rest[..., None] * share[:, None], config.policy.max_resources)


def scalarised(objectives: Tensor, like: Tensor) -> Tensor:
    """The sum over the objectives, an axis more than `like` has, where there are several."""
    return objectives.sum(-1) if objectives.ndim > like.ndim else objectives
