"""How well a team's choices fit together, against what a fresh central auction would choose at the same moment.

What choices would bring is counted at once, ``sum_mr min(need_mr, sum of the stock of those sent to m)``, so that two
who go where one is enough count once. Travel does not count: this is about agreement alone (this project's design).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sortie_core.delivery import MET, outstanding
from sortie_expert.auction import auction
from sortie_expert.greedy import useful_amount

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState

AGREEMENT, REASSIGNED = "agreement_curve", "reassigned_curve"
"""[L, decisions] what the choices would bring over what the auction's would; and the share of the agents with something
useful on board whose choice is not that of the decision before. NaN where the mission is over or nobody has any."""


class Agreement:
    """Follows a batch of missions.

    Args:
        config: a whole configuration.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._brought: list[np.ndarray] = []
        self._possible: list[np.ndarray] = []
        self._reassigned: list[np.ndarray] = []
        self._last: np.ndarray | None = None

    def count(self, state: WorldState, choice: np.ndarray, running: np.ndarray) -> None:
        """One decision.

        Args:
            state: the missions.
            choice: [B, N] int.
            running: [B] bool, missions that are not over.
        """
        need = outstanding(state, self._config)
        self._brought.append(running * _brought(state, choice, need))
        self._possible.append(running * _brought(state, auction(state, self._config), need))
        able = state.alive & (useful_amount(state.stock, need) > MET).any(axis=2) & running[:, None]
        changed = np.zeros_like(able) if self._last is None else able & (choice != self._last)
        with np.errstate(invalid="ignore"):
            self._reassigned.append(changed.sum(axis=1) / able.sum(axis=1))
        self._last = choice

    def figures(self) -> dict[str, np.ndarray]:
        """By name: agreement, [B], over all decisions of a mission together; `AGREEMENT` and `REASSIGNED`."""
        width = -(-self._config.n_steps // self._config.policy.decision_steps)
        brought, possible = np.stack(self._brought, axis=1), np.stack(self._possible, axis=1)
        with np.errstate(invalid="ignore"):
            return {
                "agreement": brought.sum(axis=1) / possible.sum(axis=1),
                AGREEMENT: _as_wide(np.where(possible > MET, brought / possible, np.nan), width),
                REASSIGNED: _as_wide(np.stack(self._reassigned, axis=1), width),
            }


def _brought(state: WorldState, choice: np.ndarray, need: np.ndarray) -> np.ndarray:
    """[B] what the stock of living agents would bring to where they are sent."""
    sent = (choice[..., None] == np.arange(need.shape[1])) & state.alive[..., None]
    arriving = np.einsum("bnm,bnr->bmr", sent.astype(state.stock.dtype), state.stock)
    return np.minimum(need, arriving).sum(axis=(1, 2), dtype=np.float64)


def _as_wide(curve: np.ndarray, width: int) -> np.ndarray:
    """NaN appended along the second axis."""
    return np.pad(curve, ((0, 0), (0, width - curve.shape[1])), constant_values=np.nan)
