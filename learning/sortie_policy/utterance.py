"""What agents said in a decision, where a slow radio delivers it in the next one.

A packet of tick t is heard in the first round of its number at a tick of at least t + comm.latency_steps. For a latency
of 1 .. policy.decision_steps ticks this is the same round of the next decision: every round hears what was sent in that
round one decision ago, over the links of that time. (Longer latencies, of several decisions, are left to the radio of
the ROS graph.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sortie_core.packets import deliberation_rounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_policy.kept_intents import KeptIntents


@dataclass
class Utterance:
    """All packets of one deliberation of B teams (K hops, E exchanges).

    Attributes:
        links: [B, rounds, N, N] bool, by round, whether i hears j.
        features: [B, K, N, F] what each round of the feature filter carries.
        attention: [B, N, M + 1] of the last exchange, which weighs the cell's neighbours.
        inputs: [B, K, N, F] what each round of the cell carries of u.
        states: [B, K, N, F] what each round of the cell carries of x.
        tables: [B, E, N, N, ...] the tables of intentions as announced in each exchange; None without exchanges, and
            where what they gave is recorded.
    """

    links: Tensor
    features: Tensor
    attention: Tensor
    inputs: Tensor
    states: Tensor
    tables: KeptIntents | None

    def map(self, function: Callable[[Tensor], Tensor]) -> Utterance:
        """With `function` applied to every tensor."""
        parts = {name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Utterance(**parts, tables=self.tables and self.tables.map(function))

    def unheard(self, where: Tensor) -> Utterance:
        """The same, but heard by nobody in the environments of the mask [B] bool."""
        return Utterance(**(vars(self) | {"links": self.links & ~where[:, None, None, None]}))

    def without_tables(self) -> Utterance:
        """What training needs to replay the decision that hears it, where the tables' outcome is recorded."""
        return Utterance(**(vars(self) | {"tables": None}))

    @classmethod
    def silence(cls, kept: KeptIntents, features: int, hops: int, exchanges: int) -> Utterance:
        """Before the first decision: nobody was heard.

        Args:
            kept: the tables of agents that know nobody.
            features: F.
            hops: K.
            exchanges: E.
        """
        batch, n_agents, _, n_consumers = kept.intent.shape
        taps = kept.intent.new_zeros(batch, hops, n_agents, features)
        return cls(
            links=kept.age.new_zeros(
                (batch, deliberation_rounds(hops, exchanges), n_agents, n_agents), dtype=torch.bool
            ),
            features=taps,
            attention=kept.intent.new_zeros(batch, n_agents, n_consumers + 1),
            inputs=taps,
            states=taps,
            tables=kept.map(lambda values: torch.stack([values] * exchanges, 1)) if exchanges else None,
        )
