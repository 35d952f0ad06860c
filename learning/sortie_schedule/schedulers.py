"""Every scheduler by its name: rules, learned agents, and the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_cluster.rules import rule
from sortie_core.own_classes import import_class
from sortie_policy.cluster_checkpoint import load_cluster_policy
from sortie_policy.lgtc_scheduler import LGTCScheduler

if TYPE_CHECKING:
    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.scheduler import Scheduler

LEARNED = ("lgtc",)


def scheduler(name: str, config: ClusterConfig) -> Scheduler:
    """A fresh scheduler.

    Args:
        name: a rule's (`sortie_cluster.rules`); ``lgtc`` for the agents of `agents.checkpoint`; or
            ``package.module:Class``, a class that takes the configuration and makes a
            `sortie_cluster.scheduler.Scheduler`.
        config: of the run.

    Raises:
        UserError: nothing has this name, or it cannot be made.
    """
    agents = config.agents
    if name == "lgtc":
        return LGTCScheduler(load_cluster_policy(agents.checkpoint), agents.hops, agents.tick_s, agents.claims)
    if ":" in name:
        own: Scheduler = import_class(name, "comparison.policies")(config)
        return own
    return rule(name)
