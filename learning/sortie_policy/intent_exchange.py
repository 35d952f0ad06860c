"""The exchanges of intentions of one decision: live, or replayed from what was recorded of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sortie_core import observation
from sortie_policy.attention import intended_supply
from sortie_policy.team_policy import Recalled

if TYPE_CHECKING:
    from sortie_policy.kept_intents import KeptIntents
    from sortie_policy.utterance import Utterance


class IntentExchange:
    """What agents tell and hear through the exchanges of one decision.

    What neighbours intend right now is differentiable; what tables tell, of others and of late packets, is recorded.

    Args:
        seen: the observation.
        kept: the tables; None to replay.
        recalled: what is to be replayed; None live.
        late: what is heard instead of what is said now, where packets are late.
        keep_rounds: entries older than this are forgotten.
        exchanges: E.
        max_speed_mps: for the worth of visits, m/s.

    Attributes:
        kept: the tables, [B, N, N, ...], after the exchanges so far; None when replayed.
        told: what was broadcast in each exchange so far, where live.
        habit: [B, N, M] what the agent itself announced last.
        stock: [B, N, R*] stock of all others that the agent knows of, before the exchanges.
    """

    habit: Tensor
    stock: Tensor

    def __init__(
        self,
        seen: observation.Observation,
        kept: KeptIntents | None,
        recalled: Recalled | None,
        late: Utterance | None,
        keep_rounds: int,
        exchanges: int,
        max_speed_mps: float,
    ) -> None:
        self.kept, self._known, self._late, self._seen = kept, kept, late, seen
        self._keep_rounds, self._exchanges, self._max_speed_mps = keep_rounds, exchanges, max_speed_mps
        distance = (seen.places - seen.position[:, :, None]).norm(dim=-1)
        self._worth = observation.worth(seen.stock[:, :, None], seen.needs, distance, max_speed_mps)
        self._replayed = list(recalled.supply.unbind(1)) if recalled else []
        self._recorded: list[Tensor] = []
        self.told: list[KeptIntents] = []
        if kept is not None:
            itself = torch.arange(seen.stock.shape[1], device=seen.stock.device)
            self.habit, self.stock = kept.intent[:, itself, itself], kept.known_stock()
        elif recalled is not None:
            self.habit, self.stock = recalled.habit, recalled.stock

    def supply(self, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What others intend to bring as the tables say, [B, N, M, R*], and those of them whose visit is worth more.

        Args:
            without: [B, N, N] bool, entries that do not count.
        """
        if self._known is None:
            supply = self._replayed[len(self._recorded)]
        else:
            supply = self._known.supply(self._seen, self._worth, self._max_speed_mps, without)
        self._recorded.append(supply)
        return supply[:, :, 0], supply[:, :, 1]

    def exchange(self, attention: Tensor, linked: Tensor) -> tuple[Tensor, Tensor]:
        """Every agent announces its attention [B, N, M + 1] and hears others; returns the supply that it then knows of.

        Args:
            attention: Xi.
            linked: [B, N, N] bool, i hears j; where packets are late, i hears what j said in the decision before.
        """
        if self.kept is not None:
            intent = attention[..., :-1].detach()
            told = self.kept.announced(intent, self._seen.stock, self._seen.position, self._keep_rounds)
            self._known = self._heard(told, linked)
            self.kept = self._known if self._keep_rounds else told
            self.told.append(told)
        if self._late is not None:
            return self.supply()
        far, far_stronger = self.supply(linked)
        near, near_stronger = intended_supply(linked, attention, self._seen.stock, self._worth, self._their_worth())
        return far + near, far_stronger + near_stronger

    def _their_worth(self) -> Tensor | None:
        """[B, N, N, M] of the visits of agent j as agent i knows them; None where all know alike."""
        seen = self._seen
        if seen.need.ndim == 3:
            return None
        distance = (seen.places[:, :, None] - seen.position[:, None, :, None]).norm(dim=-1)
        return observation.worth(seen.stock[:, None, :, None], seen.needs[:, :, None], distance, self._max_speed_mps)

    def _heard(self, told: KeptIntents, linked: Tensor) -> KeptIntents:
        if self._late is None:
            return told.heard(linked) if self._keep_rounds else told
        if self._late.tables is None:
            raise ValueError("late packets of a live decision need the tables that were told")
        index = len(self.told)
        return told.heard(linked, self._late.tables.map(lambda values: values[:, index]), self._exchanges)

    def recalled(self) -> Recalled:
        """What to record of this decision."""
        late = self._late and self._late.without_tables()
        return Recalled(torch.stack(self._recorded, 1), self.habit, self.stock, late)

    def tables(self) -> KeptIntents | None:
        """[B, E, N, N, ...] what was broadcast in all exchanges; None without any."""
        if not self.told:
            return None
        columns = {name: torch.stack([getattr(each, name) for each in self.told], 1) for name in vars(self.told[0])}
        return type(self.told[0])(**columns)
