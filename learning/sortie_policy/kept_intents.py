"""What each agent remembers of the others' intentions, and passes on to those who cannot hear them.

In every exchange round an agent broadcasts its whole table: for every agent it knows of, where that was, what it
carried and what it intended, and how many rounds ago. A receiver keeps the freshest entry about each. So intentions
travel as far as the exchanges of some decisions reach, survive lost packets, and can be summed without counting anybody
twice, which powers of a graph shift cannot. Entries that have become too old are forgotten, and with them agents that
failed. This project's design.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sortie_core import observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.observation import Observation

UNKNOWN = 1 << 20
"""An age, in rounds, beyond any other."""


@dataclass
class KeptIntents:
    """Entry [b, i, j] is what i knows of j; its own, [b, i, i], is what it announced last.

    Attributes:
        age: [B, N, N] exchange rounds since j announced it; `UNKNOWN` where i knows nothing of j.
        intent: [B, N, N, M] j's attention to each consumer.
        stock: [B, N, N, R] j's stock then.
        position: [B, N, N, D] where j was then, m.
    """

    age: Tensor
    intent: Tensor
    stock: Tensor
    position: Tensor

    @classmethod
    def nothing(cls, stock: Tensor, position: Tensor, n_consumers: int) -> KeptIntents:
        """Tables of agents that know nobody; [B, N, R] stock and [B, N, D] position give sizes, device and type."""
        batch, n_agents, _ = stock.shape
        pairs = (batch, n_agents, n_agents)
        return cls(
            age=torch.full(pairs, UNKNOWN, dtype=torch.int64, device=stock.device),
            intent=stock.new_zeros(*pairs, n_consumers),
            stock=stock.new_zeros(*pairs, stock.shape[-1]),
            position=position.new_zeros(*pairs, position.shape[-1]),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> KeptIntents:
        """Tables with `function` applied to every tensor."""
        return KeptIntents(**{name: function(value) for name, value in vars(self).items()})

    def without_others(self) -> KeptIntents:
        """The tables of agents that forget everybody but themselves."""
        return KeptIntents(**(vars(self) | {"age": self.age.masked_fill(self._others(), UNKNOWN)}))

    def announced(self, intent: Tensor, stock: Tensor, position: Tensor, keep_rounds: int) -> KeptIntents:
        """The tables one round later, with each agent's own entry anew: what it broadcasts.

        Args:
            intent: [B, N, M] attention.
            stock: [B, N, R].
            position: [B, N, D] m.
            keep_rounds: entries older than this are forgotten.
        """
        itself = torch.eye(self.age.shape[-1], dtype=torch.bool, device=self.age.device)
        older = self.age + 1
        age = torch.where(older > keep_rounds, UNKNOWN, older).masked_fill(itself, 0)
        new = (intent, stock, position)
        kept = (self.intent, self.stock, self.position)
        return KeptIntents(
            age, *(torch.where(itself[..., None], mine[:, None], old) for mine, old in zip(new, kept, strict=True))
        )

    def heard(self, linked: Tensor, told: KeptIntents | None = None, rounds_ago: int = 0) -> KeptIntents:
        """The tables after every agent has heard those of its neighbours.

        Args:
            linked: [B, N, N] bool, i hears j.
            told: what the neighbours broadcast where that is late; None for these tables.
            rounds_ago: how many exchange rounds ago they did.
        """
        theirs = told or self
        # One number holds age and sender, so that of equal ages the agent's own counts, and then the first sender's.
        width = self.age.shape[-1] + 1
        best = self.age * width
        offered = (theirs.age + rounds_ago) * width + torch.arange(1, width, device=best.device)[:, None]
        unheard = ~linked * (UNKNOWN * width)
        for sender in range(width - 1):
            best = torch.minimum(best, offered[:, sender, None, :] + unheard[:, :, sender, None])
        itself = torch.arange(width - 1, device=best.device)[:, None]
        best, source = best // width, best % width - 1
        source = torch.where(source < 0, itself, source)

        def taken(mine: Tensor, others: Tensor) -> Tensor:
            values = others.gather(1, source[..., None].expand(*source.shape, others.shape[-1]))
            return values if told is None else torch.where((source == itself)[..., None], mine, values)

        entries = ("intent", "stock", "position")
        return KeptIntents(best, *(taken(getattr(self, name), getattr(theirs, name)) for name in entries))

    def known_stock(self) -> Tensor:
        """[B, N, R*] stock of all others that each agent knows of."""
        return (self.stock * self._others()[..., None]).sum(2)

    def _others(self) -> Tensor:
        """[B, N, N] bool, of whom else each agent knows."""
        return (self.age < UNKNOWN) & ~torch.eye(self.age.shape[-1], dtype=torch.bool, device=self.age.device)

    def supply(self, seen: Observation, worth: Tensor, max_speed_mps: float) -> Tensor:
        """What each agent believes that others bring to each consumer.

        Args:
            seen: what is needed, and where.
            worth: [B, N, M] of the agents' own visits, see `observation.worth`.
            max_speed_mps: for the worth of the others' visits, m/s.

        Returns:
            [B, N, 2, M, R*] of all others, and of those whose visit is worth more than the agent's own.
        """
        intent = self.intent * self._others()[..., None]
        distance = (self.position[..., None, :] - seen.places[:, :, None]).norm(dim=-1)
        theirs = observation.worth(self.stock[..., None, :], seen.needs[:, :, None], distance, max_speed_mps)
        weights = torch.stack([intent, intent * (theirs > worth[:, :, None])], 2)
        return torch.einsum("bisjm,bijr->bismr", weights, self.stock)
