"""Networks of training alone, which see the whole team: the critic of MAPPO, the mixers of VDN and QMIX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sortie_core import observation
from sortie_policy.attention import mlp
from sortie_policy.baseline_networks import silent_features

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.observation import Observation


class TeamEncoder(nn.Module):
    """Deep sets (arXiv 1703.06114) over each agent's consumers, then over the agents, so that any team fits.

    Args:
        config: `policy.max_resources`, `task.dimensions` and `world.max_speed_mps` are read.
        width: of the features.
    """

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        dimensions, most = config.task.dimensions, config.policy.max_resources
        self.max_speed_mps = config.world.max_speed_mps
        self.own = nn.Linear(observation.own_size(dimensions, most), width)
        self.pair = nn.Linear(observation.pair_size(dimensions, most), width)
        self.agent = nn.Linear(2 * width, width)

    def forward(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Features of every agent [B, N, width], and of its team, the same for all, [B, N, width]."""
        others = seen.stock.sum(1, keepdim=True) - seen.stock
        pair = silent_features(seen, others, self.max_speed_mps)
        known = torch.relu(self.pair(pair)) * seen.open[..., None]
        prospects = known.sum(-2) / seen.open.sum(-1, keepdim=True).clamp(min=1)
        agent = torch.relu(self.agent(torch.cat([torch.relu(self.own(seen.own)), prospects], -1)))
        return agent, agent.mean(-2, keepdim=True).expand_as(agent)


class CentralCritic(nn.Module):
    """Values of all agents in the eyes of one that sees the whole team (MAPPO, arXiv 2103.01955).

    Args:
        config: see `TeamEncoder`.
        width: of the hidden layers.
        objectives: how many values an agent has; 0 for a single one without an axis of its own.
    """

    def __init__(self, config: Config, width: int, objectives: int = 0) -> None:
        super().__init__()
        self.encoder = TeamEncoder(config, width)
        self.head = mlp([2 * width, width, max(1, objectives)])
        self._objectives = objectives

    def forward(self, seen: Observation) -> Tensor:
        """[B, N], or [B, N, objectives]."""
        value = self.head(torch.cat(self.encoder(seen), -1))
        return value if self._objectives else value.squeeze(-1)


class VDNMixer(nn.Module):
    """The team's value as the sum of the agents' (arXiv 1706.05296)."""

    def forward(self, values: Tensor, seen: Observation) -> Tensor:
        """[B, N] values, zero for agents that do not count, give [B]."""
        return values.sum(-1)


class QMixer(nn.Module):
    """The team's value as a monotonic function of the agents' whose weights depend on the team's state (QMIX).

    As in arXiv 1803.11485, but the weights of an agent come from what it and its team are like instead of from its
    number, so that any team fits.

    Args:
        config: see `TeamEncoder`.
        width: of the team's features.
        mixing: units of the hidden layer.
    """

    def __init__(self, config: Config, width: int = 32, mixing: int = 32) -> None:
        super().__init__()
        self.encoder = TeamEncoder(config, width)
        self.agent_weight = nn.Linear(2 * width, mixing)
        self.bias = nn.Linear(width, mixing)
        self.final_weight = nn.Linear(width, mixing)
        self.state_value = mlp([width, mixing, 1])

    def forward(self, values: Tensor, seen: Observation) -> Tensor:
        """[B, N] values, zero for agents that do not count, give [B]."""
        agent, everywhere = self.encoder(seen)
        team = everywhere[:, 0]
        weight = self.agent_weight(torch.cat([agent, everywhere], -1)).abs()
        final = self.final_weight(team).abs()
        return monotonic(values, weight, self.bias(team), final, self.state_value(team).squeeze(-1))


def monotonic(values: Tensor, weight: Tensor, bias: Tensor, final_weight: Tensor, offset: Tensor) -> Tensor:
    """QMIX's mixing, ``w . elu(sum_i q_i W_i + b) + v``, monotonic in each q_i where no weight is negative.

    Args:
        values: [B, N] q.
        weight: [B, N, E] W.
        bias: [B, E] b.
        final_weight: [B, E] w.
        offset: [B] v.

    Returns:
        [B].
    """
    hidden = nn.functional.elu((values[..., None] * weight).sum(-2) + bias)
    return (hidden * final_weight).sum(-1) + offset
