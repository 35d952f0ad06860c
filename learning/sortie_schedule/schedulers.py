"""Every scheduler by its name: rules, learned agents, and the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_cluster.rules import rule
from sortie_core.config import UserError
from sortie_core.own_classes import import_class, told_in_a_line
from sortie_policy.checkpoint import MissingCheckpointError, locate
from sortie_policy.cluster_checkpoint import load_cluster_policy
from sortie_policy.cluster_policy import ABLATIONS, ClusterPolicy
from sortie_policy.lgtc_scheduler import LGTCScheduler
from sortie_schedule.q_schedulers import load_q_scheduler

if TYPE_CHECKING:
    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.scheduler import Scheduler

LGTC = "lgtc"
UNTRAINED = f"{LGTC}-training"
_WITHOUT = {LGTC: ""} | {f"{LGTC}-{part}": part for part in ABLATIONS}


def checkpoint_of(name: str, config: ClusterConfig, train_seed: int) -> str:
    """The checkpoint of a learned policy; empty for what is not learned."""
    return _checkpoints(name, config).replace("{seed}", str(train_seed))


def train_seeds(name: str, config: ClusterConfig) -> list[int]:
    """Which trainings of a policy are compared; [0] for what is not learned, or of which one file is named."""
    return config.comparison.train_seeds if "{seed}" in _checkpoints(name, config) else [0]


def _checkpoints(name: str, config: ClusterConfig) -> str:
    compared = config.comparison
    if name in compared.learned:
        return compared.checkpoints.replace("{training}", compared.learned[name].training)
    return config.agents.checkpoint if name in _WITHOUT else ""


def scheduler(name: str, config: ClusterConfig, train_seed: int) -> Scheduler:
    """A fresh scheduler.

    Args:
        name: a rule's (`sortie_cluster.recipes`); ``lgtc`` for the agents of `agents.checkpoint`, ``lgtc-network`` and
            ``lgtc-states`` for the same without these, ``lgtc-training`` for agents before training; a key of
            `comparison.learned`; or ``package.module:Class``, a class that takes the configuration and makes a
            `sortie_cluster.scheduler.Scheduler`.
        config: of the run.
        train_seed: which training, of what is learned.

    Raises:
        UserError: nothing has this name, or it cannot be made.
    """
    agents, path = config.agents, checkpoint_of(name, config, train_seed)
    if name in _WITHOUT:
        policy = load_cluster_policy(path)
        if part := _WITHOUT[name]:
            policy = policy.without(part)
        return LGTCScheduler(policy, agents.hops, agents.tick_s, agents.claims)
    if name == UNTRAINED:
        policy = ClusterPolicy(config.training.hidden, config.training.width)
        return LGTCScheduler(policy, agents.hops, agents.tick_s, agents.claims)
    if path:
        learned = config.comparison.learned[name]
        try:
            file = locate(path)
        except MissingCheckpointError as error:
            raise UserError(f"{error.what}; train it with `sortie sweep`, or set comparison.checkpoints") from None
        return load_q_scheduler(file, learned.epoch, learned.max_hops)
    if ":" in name:
        kind = import_class(name, "comparison.policies")
        with told_in_a_line(f"comparison.policies: {name} cannot be made of a configuration"):
            own: Scheduler = kind(config)
        return own
    return rule(name)
