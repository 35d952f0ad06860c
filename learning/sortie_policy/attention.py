"""Dynamic cluster agreement: attention over consumers, and the support masked by shared attention.

LGTC-IPPO (arXiv 2503.02437) describes DeepSets over consumers, attention Xi that weights their features, and agents
that share dynamics where they choose the same consumer. Its equations are not public; those here are this project's
design.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sortie_core import observation
from sortie_core.delivery import MET


def mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class ConsumerEncoder(nn.Module):
    """DeepSets over consumers: ``e_m = phi2(phi1(c_m), mean_n phi1(c_n))``.

    Args:
        consumer_size: Fc.
        width: of the hidden layers.
        features: F of the result.
    """

    def __init__(self, consumer_size: int, width: int, features: int) -> None:
        super().__init__()
        self.each = mlp([consumer_size, width, features])
        self.joint = mlp([2 * features, width, features])

    def forward(self, consumers: Tensor, mask: Tensor) -> Tensor:
        """[B, M, Fc] and a bool mask [B, M] give [B, M, F]; a masked consumer changes no other one."""
        each = torch.relu(self.each(consumers))
        weight = mask.to(each.dtype)[..., None]
        mean = (each * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp(min=1.0)
        return torch.tanh(self.joint(torch.cat([each, mean.expand_as(each)], -1)))


class ConsumerAttention(nn.Module):
    """Attention Xi of every agent over the consumers and "wait".

    ``Xi_im = softmax_m( <W_q psi~_i, k(e_m, pair_im)> / sqrt(d) / T )``. Consumers that are masked, or to which the
    agent can bring nothing, get no weight. The key network's first layer is split by its inputs and its last one is
    applied to the query instead, so that what is done for every pair of agent and consumer is small.

    Args:
        features: F of psi~ and e.
        pair_size: Fp of the pair features.
        width: of the key network.
        key_dim: d.
    """

    def __init__(self, features: int, pair_size: int, width: int, key_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(features, key_dim)
        self.each = nn.Linear(features, width)
        self.pair = nn.Linear(pair_size, width, bias=False)
        self.hidden = nn.Linear(width, width)
        self.key = nn.Linear(width, key_dim)
        self.wait_key = nn.Parameter(torch.zeros(key_dim))
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        self.scale = 1.0 / math.sqrt(key_dim)

    def forward(self, mixed: Tensor, embedding: Tensor, pair: Tensor, mask: Tensor) -> Tensor:
        """Log attention.

        Args:
            mixed: [B, N, F] psi~.
            embedding: [B, M, F] e; or [B, N, M, F], by agent.
            pair: [B, N, M, Fp].
            mask: [B, M] bool; or [B, N, M].

        Returns:
            [B, N, M + 1] log Xi; the last entry is "wait".
        """
        query = self.query(mixed)
        known = torch.relu(self.hidden(torch.relu(self.each(by_agent(embedding, 4)) + self.pair(pair))))
        asked = query @ self.key.weight
        logits = (known @ asked[..., None]).squeeze(-1) + (query * self.key.bias).sum(-1, keepdim=True)
        possible = by_agent(mask, 3) & (pair[..., observation.USEFUL] > MET)
        logits = logits.masked_fill(~possible, -1e9)
        wait = (query * self.wait_key).sum(-1, keepdim=True)
        return torch.log_softmax(torch.cat([logits, wait], -1) * self.scale / self.temperature, -1)


def by_agent(values: Tensor, ndim: int) -> Tensor:
    """Values about consumers with an axis for the agents, after B, that may be of length 1.

    Args:
        values: [B, M, ...], the same for all agents, or [B, N, M, ...].
        ndim: of the latter.
    """
    return values if values.ndim == ndim else values[:, None]


def cluster_support(adjacency: Tensor, attention: Tensor, said: Tensor | None = None) -> Tensor:
    """The support of the cell: neighbours weighted by shared attention, ``w_ij = (a_ij or i = j) <Xi_i, Xi_j>``.

    Args:
        adjacency: [B, N, N] bool, who hears whom.
        attention: [B, N, M + 1] Xi.
        said: [B, N, M + 1] what others are heard to say instead, where packets are late.

    Returns:
        [B, N, N] row-stochastic.
    """
    linked = adjacency | torch.eye(adjacency.shape[-1], dtype=torch.bool, device=adjacency.device)
    weight = attention @ (attention if said is None else said).transpose(-1, -2)
    if said is not None:
        weight = weight + torch.diag_embed((attention * (attention - said)).sum(-1))
    weight = weight * linked
    return weight / weight.sum(-1, keepdim=True)
