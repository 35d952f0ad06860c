"""Who hears whom in each radio round of a decision, where packets get lost."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_rounds(adjacency: Tensor, hops: int, loss: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw the links of rounds 1 .. 2K+1, each packet lost independently (see `sortie_core.packets` for the rounds).

    Args:
        adjacency: [B, N, N] bool, who is in range of whom.
        hops: K.
        loss: probability that a packet is lost on a link.
        generator: of the draws; torch's global one where None.

    Returns:
        [B, 2K + 1, N, N] bool, i hears j.
    """
    batch, n_agents, _ = adjacency.shape
    shape = (batch, 2 * hops + 2, n_agents, n_agents)
    arrives = torch.rand(shape, generator=generator, device=adjacency.device) >= loss
    return dependent_rounds(adjacency[:, None] & arrives, hops)


def dependent_rounds(links: Tensor, hops: int) -> Tensor:
    """The links that count of those over which packets arrived.

    What a neighbour intends counts only where its beacon, with position and stock, was heard, and a tap of its cell
    only where the attention that weighs it was.

    Args:
        links: [B, 2K + 2, N, N] bool, over which links packets arrived, from the beacon (round 0) on.
        hops: K.

    Returns:
        [B, 2K + 1, N, N] bool, from round 1 on.
    """
    rounds = list(links.unbind(1))
    for each in (hops + 1, hops + 2):
        rounds[each] = rounds[each] & rounds[0]
    for each in range(hops + 3, 2 * hops + 2):
        rounds[each] = rounds[each] & rounds[hops + 2]
    return torch.stack(rounds[1:], 1)
