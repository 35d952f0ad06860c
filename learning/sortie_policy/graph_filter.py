"""Graph filters over taps, the only way in which agents mix their features.

A filter is split at the radio. The taps ``x, S x, .., S^K x`` are what travels: a batched world computes them by matrix
products, a single agent by K rounds of packets. Weighting the taps is local, so that one module serves both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


def shift_taps(
    support: torch.Tensor | Sequence[torch.Tensor], x: torch.Tensor, hops: int, said: torch.Tensor | None = None
) -> torch.Tensor:
    """Stack ``x, S x, .., S^K x``.

    Args:
        support: [..., N, N] graph support S; or K of them, one for each round of packets, where losses make them
            differ: the taps are then ``x, S_1 x, S_2 S_1 x, ..``.
        x: [..., N, F] features.
        hops: K, the number of rounds.
        said: [..., K, N, F] what others are heard to say in each round instead of their tap, where packets are late.

    Returns:
        [..., N, K + 1, F] taps.
    """
    rounds = [support] * hops if isinstance(support, torch.Tensor) else support
    taps = [x]
    for hop, heard in zip(range(hops), rounds, strict=True):
        if said is None:
            taps.append(heard @ taps[-1])
        else:
            late, own = said[..., hop, :, :], heard.diagonal(dim1=-2, dim2=-1)[..., None]
            taps.append(heard @ late + own * (taps[-1] - late))
    return torch.stack(taps, dim=-2)


class GraphFilter(nn.Module):
    """The graph filter ``A_S(x) = sum_{k=start..K} S^k x A_k`` (arXiv 2404.13982), given the taps of x.

    Attributes:
        weight: [K + 1 - start, F, G] the A_k; drawn so that independent taps of unit variance give unit variance.
    """

    def __init__(self, n_in: int, n_out: int, hops: int, start: int = 0) -> None:
        """Draw the weights from torch's global generator.

        Args:
            n_in: F, features in.
            n_out: G, features out.
            hops: K, the highest power of the support.
            start: the lowest power of the support; 1 leaves the agent's own features out.
        """
        super().__init__()
        self.start = start
        n_taps = hops + 1 - start
        bound = (3.0 / (n_taps * n_in)) ** 0.5
        self.weight = nn.Parameter(torch.empty(n_taps, n_in, n_out).uniform_(-bound, bound))

    def forward(self, taps: torch.Tensor) -> torch.Tensor:
        """Weight and sum the taps.

        Args:
            taps: [..., N, K + 1, F] all taps from k = 0, as `shift_taps` stacks them; N = 1 in a single agent.

        Returns:
            [..., N, G] filtered features.
        """
        return taps[..., self.start :, :].flatten(-2) @ self.weight.flatten(0, 1)
