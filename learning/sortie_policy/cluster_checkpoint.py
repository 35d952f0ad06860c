"""A trained policy of a cluster's node in one file, of the same form as a drone's (`checkpoint`), without stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_core.config import UserError
from sortie_policy.checkpoint import MissingCheckpointError, load_metadata, load_weights, write_checkpoint
from sortie_policy.cluster_policy import ClusterPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_core.config import Configuration

KIND = "cluster"


def write_cluster_policy(path: str | Path, config: Configuration, policy: ClusterPolicy, **metadata: Any) -> None:
    """Write a policy atomically.

    Args:
        path: the file.
        config: what it was trained with.
        policy: the policy.
        metadata: what a user wants to know of it: seed, generations, figures.
    """
    sizes = {"hidden": policy.hidden, "width": policy.width, "contraction_rate": policy.contraction_rate}
    write_checkpoint(path, config, policy.parts, {}, kind=KIND, **sizes, **metadata)


def load_cluster_policy(path: str | Path) -> ClusterPolicy:
    """The policy of a checkpoint.

    Raises:
        UserError: the file is missing, damaged, or holds no policy of a cluster's node.
    """
    try:
        metadata = load_metadata(path)
    except MissingCheckpointError as error:
        advice = "train one with `sortie train configs/cluster.yaml`, or set agents.checkpoint"
        raise UserError(f"{error.what}; {advice}") from None
    if metadata.get("kind") != KIND:
        raise UserError(f"checkpoint {path} is of a drone, not of a cluster's node; train one on configs/cluster.yaml")
    policy = ClusterPolicy(metadata["hidden"], metadata["width"])
    weights = load_weights(path)
    for name, part in policy.parts.items():
        if name not in weights or weights[name].shape != part.shape:
            raise UserError(f"checkpoint {path} is of another version ({name} does not fit); train it again")
        part[:] = weights[name]
    if not np.isfinite(policy.vector).all():
        raise UserError(f"checkpoint {path} holds numbers that are not finite; train it again")
    return policy
