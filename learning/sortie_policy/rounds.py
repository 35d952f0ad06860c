"""Who hears whom in each radio round of a decision, where packets get lost."""

from __future__ import annotations

import torch
from torch import Tensor

from sortie_core.packets import deliberation_rounds


def draw_rounds(
    adjacency: Tensor, hops: int, exchanges: int, loss: float, generator: torch.Generator | None = None
) -> Tensor:
    """Draw the links of a decision's rounds, each packet lost independently (see `sortie_core.packets` for the rounds).

    Args:
        adjacency: [B, N, N] bool, who is in range of whom.
        hops: K.
        exchanges: E.
        loss: probability that a packet is lost on a link.
        generator: of the draws; torch's global one where None.

    Returns:
        [B, rounds, N, N] bool, i hears j.
    """
    batch, n_agents, _ = adjacency.shape
    shape = (batch, deliberation_rounds(hops, exchanges), n_agents, n_agents)
    arrives = torch.rand(shape, generator=generator, device=adjacency.device) >= loss
    return dependent_rounds(adjacency[:, None] & arrives, hops, exchanges)


def dependent_rounds(links: Tensor, hops: int, exchanges: int) -> Tensor:
    """The links that count of those over which packets arrived.

    A tap of a neighbour's cell counts only where the attention that weighs it was heard.

    Args:
        links: [B, rounds, N, N] bool, over which links packets arrived.
        hops: K.
        exchanges: E.

    Returns:
        [B, rounds, N, N] bool.
    """
    shared = hops + max(1, exchanges) - 1
    later = links[:, shared + 1 :] & links[:, shared, None]
    return torch.cat([links[:, : shared + 1], later], 1)


def split_rounds(adjacency: Tensor, hops: int, exchanges: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The links [B, N, N] of the feature filter's K rounds, of the exchanges, and of the cell's K rounds.

    The last exchange carries the first tap of the cell too.

    Args:
        adjacency: [B, N, N] bool, the same in all rounds; or [B, rounds, N, N] by round.
        hops: K.
        exchanges: E.
    """
    rounds = by_round(adjacency, hops, exchanges).unbind(1)
    shared = hops + max(1, exchanges) - 1
    return list(rounds[:hops]), list(rounds[hops : shared + 1]), list(rounds[shared:])


def by_round(adjacency: Tensor, hops: int, exchanges: int) -> Tensor:
    """The links [B, rounds, N, N] where they may be given as [B, N, N], the same in all rounds."""
    if adjacency.ndim == 4:
        return adjacency
    return adjacency[:, None].expand(-1, deliberation_rounds(hops, exchanges), -1, -1)
