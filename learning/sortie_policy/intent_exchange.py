"""The exchanges of intentions of one decision: what each agent has heard when it decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sortie_core import observation

if TYPE_CHECKING:
    from sortie_policy.kept_intents import KeptIntents
    from sortie_policy.utterance import Utterance


class IntentExchange:
    """What agents tell and hear through the exchanges of one decision, and the pair features that follow from it.

    Args:
        seen: the observation.
        kept: the tables.
        late: what is heard instead of what is said now, where packets are late.
        keep_rounds: entries older than this are forgotten.
        exchanges: E.
        max_speed_mps: for the worth of visits, m/s.

    Attributes:
        kept: the tables, [B, N, N, ...], after the exchanges so far.
    """

    def __init__(
        self,
        seen: observation.Observation,
        kept: KeptIntents,
        late: Utterance | None,
        keep_rounds: int,
        exchanges: int,
        max_speed_mps: float,
    ) -> None:
        self.kept = kept if keep_rounds else kept.without_others()
        self._seen, self._late = seen, late
        self._keep_rounds, self._exchanges, self._max_speed_mps = keep_rounds, exchanges, max_speed_mps
        distance = (seen.places - seen.position[:, :, None]).norm(dim=-1)
        self._worth = observation.worth(seen.stock[:, :, None], seen.needs, distance, max_speed_mps)
        itself = torch.arange(seen.stock.shape[1], device=seen.stock.device)
        self._habit, self._stock = kept.intent[:, itself, itself], self.kept.known_stock()
        self._told: list[KeptIntents] = []

    def pair(self) -> Tensor:
        """[B, N, M, Fp] pair features with what the tables say now."""
        supply, stronger = self.kept.supply(self._seen, self._worth, self._max_speed_mps).unbind(2)
        return observation.pair_features(
            self._seen, supply, stronger, self._habit, self._stock, self._max_speed_mps
        )  # fmt: skip

    def exchange(self, attention: Tensor, linked: Tensor) -> None:
        """Every agent announces its attention and hears others.

        Args:
            attention: [B, N, M + 1] Xi.
            linked: [B, N, N] bool, i hears j; where packets are late, i hears what j said in the decision before.
        """
        seen = self._seen
        told = self.kept.announced(attention[..., :-1], seen.stock, seen.position, self._keep_rounds)
        if self._late is None:
            self.kept = told.heard(linked)
        else:
            tables, index = self._late.tables, len(self._told)
            if tables is None:
                raise ValueError("late packets of a live decision need the tables that were told")
            self.kept = told.heard(linked, tables.map(lambda values: values[:, index]), self._exchanges)
        self._told.append(told)

    def tables(self) -> KeptIntents | None:
        """[B, E, N, N, ...] what was broadcast in all exchanges; None without any."""
        if not self._told:
            return None
        columns = {name: torch.stack([getattr(each, name) for each in self._told], 1) for name in vars(self._told[0])}
        return type(self._told[0])(**columns)
