"""What the tests of the policy share: random teams in radio range of one another, and cells of every size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from sortie_policy.lgtc_cell import LGTCCell

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def random_support() -> Callable[..., torch.Tensor]:
    """Draw row-stochastic supports [*shape, N, N] with self-loops, of teams strewn over a unit square."""

    def draw(*shape: int, n_agents: int, radius: float = 0.5) -> torch.Tensor:
        position = torch.rand(*shape, n_agents, 2, dtype=torch.float64)
        adjacency = (torch.cdist(position, position) <= radius).double()
        return adjacency / adjacency.sum(-1, keepdim=True)

    return draw


@pytest.fixture
def seeded_cell() -> Callable[..., LGTCCell]:
    """Seed torch and build a cell in float64, of a size and rates that the seed picks unless given."""

    def build(seed: int, **arguments: object) -> LGTCCell:
        torch.manual_seed(seed)
        sizes = {"hidden": 1 + seed % 7, "n_inputs": 1 + seed % 3, "hops": 1 + seed % 4}
        rates = {"rate_min_per_s": 0.5, "rate_max_per_s": 10.0}
        return LGTCCell(**(sizes | rates | arguments)).double()

    return build
