"""How well agents agree, as figures for the curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_train.losses import entropy, weighted_mean

if TYPE_CHECKING:
    from torch import Tensor

    from sortie_policy.team_policy import Deliberation
    from sortie_train.rollout import Rollout


def cluster_statistics(out: Deliberation, rollout: Rollout, envs: Tensor) -> dict[str, float]:
    """Statistics of some environments' decisions.

    Args:
        out: the policy's outcome there, [T, b, ...].
        rollout: T decisions.
        envs: [b] which of its environments.

    Returns:
        ``cluster/entropy`` of the attention Xi, nats; ``cluster/agreement``, the share of the cell's support that lies
        on others, 0 for agents each alone; ``cluster/reassignments``, the share of decisions, but the first of an
        episode, that choose another consumer than the one before.
    """
    weight, choice = rollout.weight[:, envs], rollout.choice[:, envs]
    going_on = weight[1:] * ~rollout.fresh[1:, envs, None]
    return {
        "cluster/entropy": weighted_mean(entropy(out.attention.clamp(min=1e-12).log()), weight).item(),
        "cluster/agreement": 1 - weighted_mean(out.support.diagonal(dim1=-2, dim2=-1), weight).item(),
        "cluster/reassignments": weighted_mean((choice[1:] != choice[:-1]).float(), going_on).item(),
    }
