"""What a batch of teams has before it at a decision: observations, links, and what is known of the demands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sortie_core.demand_knowledge import DemandKnowledge
from sortie_core.observation import observe
from sortie_policy.rounds import draw_rounds

if TYPE_CHECKING:
    from torch import Tensor

    from sortie_core.config import Config
    from sortie_core.observation import Observation
    from sortie_core.state import WorldState


def first_knowledge(state: WorldState, config: Config) -> DemandKnowledge | None:
    """Of teams that begin; None where demands are broadcast."""
    return DemandKnowledge.nothing(state) if config.task.demand_sensing == "relayed" else None


def outlook(
    state: WorldState, linked: Tensor, knowledge: DemandKnowledge | None, config: Config, random: torch.Generator
) -> tuple[Observation, Tensor, DemandKnowledge | None]:
    """The outlook at a decision.

    Args:
        state: the missions, torch.
        linked: [B, N, N] bool, who is in range of whom.
        knowledge: at the last decision, from `first_knowledge` on.
        config: a whole configuration.
        random: draws which packets get lost.

    Returns:
        What agents observe; over which links packets arrive, [B, N, N], or [B, rounds, N, N] where they get lost; and
        the knowledge at this decision.
    """
    loss, policy = config.comm.loss, config.policy
    if knowledge is not None:
        arrives = torch.rand(linked.shape, generator=random, device=linked.device) >= loss if loss else True
        knowledge = knowledge.learned(state, linked & arrives, config)
    if loss:
        linked = draw_rounds(linked, policy.hops, policy.exchanges, loss, random)
    return observe(state, config, knowledge), linked, knowledge
