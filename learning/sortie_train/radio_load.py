"""What the deliberation of a trained team weighs on the air, counted in the batched pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_core.packets import HEADER_BYTES, deliberation_rounds
from sortie_policy.kept_intents import UNKNOWN, KeptIntents
from sortie_policy.rounds import split_rounds

if TYPE_CHECKING:
    from torch import Tensor

    from sortie_core.config import Config
    from sortie_core.demand_knowledge import DemandKnowledge
    from sortie_core.state import WorldState

_FLOAT_BYTES = 4


def deliberation_bytes(
    state: WorldState, linked: Tensor, kept: KeptIntents, config: Config, told: KeptIntents | None = None
) -> Tensor:
    """What all agents of each team send in one deliberation, by the table of `sortie_core.packets`.

    Args:
        state: the missions, torch.
        linked: [B, N, N] bool, who hears whom; or [B, rounds, N, N] by round.
        kept: the tables of kept intentions before the deliberation.
        config: of the missions, with the network's sizes as trained.
        told: [B, E, N, N, ...] the tables as announced in each exchange, where packets are late; else they follow from
            `linked` and `kept`.

    Returns:
        [B].
    """
    policy = config.policy
    n_consumers, n_resources = state.unmet.shape[1:]
    dimensions = state.position.shape[2]
    exchanges = max(1, policy.exchanges)
    # Taps of the features; in every exchange the attention; and K rounds of the cell's input and state.
    floats = policy.hops * policy.hidden + exchanges * (n_consumers + 1) + policy.hops * 2 * policy.hidden
    if policy.exchanges:
        floats += exchanges * (dimensions + n_resources)
    per_agent = _FLOAT_BYTES * floats + HEADER_BYTES * deliberation_rounds(policy.hops, policy.exchanges)
    per_entry = _FLOAT_BYTES * (2 + dimensions + n_resources + n_consumers)
    alive = state.alive.to(state.position.dtype)
    entries = _entries(linked, kept, config) if told is None else _known(told).sum(dim=1)
    return (alive * (per_agent + per_entry * entries)).sum(dim=1)


def demand_bytes(state: WorldState, knowledge: DemandKnowledge) -> Tensor:
    """What all agents of each team add to the beacons of one decision, where demands are relayed.

    Args:
        state: the missions, torch.
        knowledge: at the decision.

    Returns:
        [B].
    """
    per_entry = _FLOAT_BYTES * (2 + state.position.shape[2] + state.unmet.shape[2])
    told = knowledge.told or knowledge
    return per_entry * (told.known & state.alive[..., None]).sum((1, 2))


def _known(tables: KeptIntents) -> Tensor:
    """[..., N] how many others each agent's table has an entry about."""
    return (tables.age < UNKNOWN).sum(dim=-1) - 1


def _entries(linked: Tensor, kept: KeptIntents, config: Config) -> Tensor:
    """[B, N] entries about others that each agent passes on, in all exchanges together."""
    policy = config.policy
    known = kept.age.new_zeros(kept.age.shape[:2])
    # Ages alone decide what is passed on, so the tables are followed without their contents.
    ages = kept.map(lambda values: values[..., :0] if values.ndim == 4 else values)
    nothing = ages.intent[:, 0]
    keep_rounds = policy.keep_decisions * policy.exchanges
    for exchange, heard in enumerate(split_rounds(linked, policy.hops, policy.exchanges)[1][: policy.exchanges]):
        told = ages.announced(nothing, nothing, nothing, keep_rounds)
        known += _known(told)
        if exchange < policy.exchanges - 1:
            ages = told.heard(heard)
    return known
