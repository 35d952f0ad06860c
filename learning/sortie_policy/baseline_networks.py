"""What a user would pick instead of LGTC: a plain perceptron, and graph attention; both without memory, and silent.

They choose and steer as LGTC does and see the same features of every consumer, but hear one round of radio only, the
beacons: position, velocity and stock of their neighbours. Nobody tells what it intends. Their hidden width is such that
they have as many parameters as LGTC of the same configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sortie_core import observation
from sortie_core.delivery import MET
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.attention import ConsumerAttention, ConsumerEncoder, mlp
from sortie_policy.parameter_count import equal_width
from sortie_policy.team_policy import Deliberation, Recalled, TeamPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.observation import Observation
    from sortie_policy.kept_intents import KeptIntents
    from sortie_policy.utterance import Utterance

_HEADS = 4
_NEAREST = 5
"""Neighbours that the perceptron has inputs for."""


@dataclass
class Assessment:
    """A whole decision, since nothing is left to do where nothing is remembered; see `Deliberation`."""

    log_choice: Tensor
    correction: Tensor
    value: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Assessment:
        """An assessment with `function` applied to every tensor."""
        return Assessment(**{name: function(value) for name, value in vars(self).items()})


class SilentPolicy(TeamPolicy):
    """A network that decides from what agents see and from their neighbours' beacons.

    Args:
        config: `policy`, `task.dimensions` and `world.max_speed_mps` are read.
        width: of the hidden layers; None for as many parameters as LGTC has.
    """

    hidden = 0

    def __init__(self, config: Config, width: int | None = None) -> None:
        super().__init__()
        dimensions, most = config.task.dimensions, config.policy.max_resources
        self.max_speed_mps = config.world.max_speed_mps
        self.relative = slice(observation.RELATIVE, observation.RELATIVE + dimensions)
        own_size, pair_size = observation.own_size(dimensions, most), observation.pair_size(dimensions, most)
        width = width or equal_width(lambda width: type(self)(config, width), lambda: LGTCPolicy(config))
        self.build(config, width)
        self.corrector = mlp([width + dimensions + own_size, width, dimensions])
        self.log_std = nn.Parameter(torch.full((dimensions,), -1.0))
        self.critic = mlp([width + pair_size, width, width, 1])
        with torch.no_grad():
            # A new policy, and one that learns nothing but choices, corrects nothing.
            for parameter in self.corrector[-1].parameters():
                parameter.zero_()

    def build(self, config: Config, width: int) -> None:
        """Make the layers of `judge`."""
        raise NotImplementedError

    def judge(self, seen: Observation, heard: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """What agents make of it.

        Args:
            seen: observations of B teams.
            heard: [B, N, N] bool, whose beacons an agent has heard.
            pair: [B, N, M, Fp] from `silent_features`.

        Returns:
            features [B, N, width] and log probabilities of the choice [B, N, M + 1].
        """
        raise NotImplementedError

    def perceive(
        self,
        seen: Observation,
        adjacency: Tensor,
        kept: KeptIntents | None,
        recalled: Recalled | None = None,
        said: Utterance | None = None,
    ) -> tuple[Assessment, Recalled, KeptIntents | None]:
        """See `TeamPolicy`; there is nothing to recall."""
        heard = adjacency if adjacency.ndim == 3 else adjacency[:, 0]
        pair = silent_features(seen, heard.to(seen.stock.dtype) @ seen.stock, self.max_speed_mps)
        features, log_choice = self.judge(seen, heard, pair)
        attended = (log_choice[..., :-1, None].exp() * pair).sum(-2)
        assessment = Assessment(
            log_choice=log_choice,
            correction=self.corrector(torch.cat([features, attended[..., self.relative], seen.own], -1)),
            value=self.critic(torch.cat([features, attended], -1)).squeeze(-1),
        )
        nothing = seen.need.new_zeros(len(seen.need), 0)
        return assessment, Recalled(nothing, nothing), kept

    def outcome(self, perception: Assessment, new_state: Tensor) -> Deliberation:
        """See `TeamPolicy`; every agent is a cluster by itself."""
        batch, n_agents, _ = perception.log_choice.shape
        alone = torch.eye(n_agents, device=new_state.device).expand(batch, -1, -1)
        return Deliberation(state=new_state, attention=perception.log_choice.exp(), support=alone, **vars(perception))


class MLPPolicy(SilentPolicy):
    """Perceptrons over the own state, the nearest neighbours in order of distance, and the mean over the consumers.

    Every consumer is scored by the same perceptron, so that any number of them fits.
    """

    def build(self, config: Config, width: int) -> None:
        """See `SilentPolicy`."""
        dimensions, most = config.task.dimensions, config.policy.max_resources
        seen_size = observation.own_size(dimensions, most) + _NEAREST * (1 + _edge_size(dimensions, most))
        self.encoder = mlp([seen_size, width, width])
        self.pair = nn.Linear(observation.pair_size(dimensions, most), width)
        self.context = mlp([2 * width, width])
        self.each = nn.Linear(width, width, bias=False)
        self.score = mlp([width, width, 1])
        self.wait = nn.Linear(width, 1)

    def judge(self, seen: Observation, heard: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """See `SilentPolicy`."""
        known = self.pair(pair)
        mask = seen.open.to(known.dtype)[..., None]
        mean = (torch.relu(known) * mask).sum(-2) / mask.sum(-2).clamp(min=1.0)
        own = torch.relu(self.encoder(torch.cat([seen.own, self._nearest(seen, heard)], -1)))
        features = torch.relu(self.context(torch.cat([own, mean], -1)))
        scores = self.score(torch.relu(self.each(features)[..., None, :] + known)).squeeze(-1)
        possible = seen.open & (pair[..., observation.USEFUL] > MET)
        scores = scores.masked_fill(~possible, -1e9)
        return features, torch.log_softmax(torch.cat([scores, self.wait(features)], -1), -1)

    def _nearest(self, seen: Observation, heard: Tensor) -> Tensor:
        """[B, N, k (1 + Fe)] whether there is a k-th neighbour, and its features."""
        edges = _edges(seen, self.max_speed_mps)
        distance = edges[..., 0].masked_fill(~heard, torch.inf)
        count = min(_NEAREST, distance.shape[-1])
        near, index = distance.topk(count, largest=False)
        there = near.isfinite()[..., None]
        taken = edges.gather(2, index[..., None].expand(*index.shape, edges.shape[-1])) * there
        listed = torch.cat([there.to(edges.dtype), taken], -1)
        return nn.functional.pad(listed, (0, 0, 0, _NEAREST - count)).flatten(-2)


class AttentionPolicy(SilentPolicy):
    """Graph attention over the neighbours (GATv2, arXiv 2105.14491, with edge features), then over the consumers."""

    def build(self, config: Config, width: int) -> None:
        """See `SilentPolicy`."""
        dimensions, most = config.task.dimensions, config.policy.max_resources
        self.own_encoder = mlp([observation.own_size(dimensions, most), width, width])
        self.receiver = nn.Linear(width, width)
        self.edge = nn.Linear(_edge_size(dimensions, most), width, bias=False)
        self.weigh = nn.Linear(width, _HEADS, bias=False)
        self.mixer = nn.Linear((1 + _HEADS) * width, width)
        self.consumer_encoder = ConsumerEncoder(observation.consumer_size(dimensions, most), width, width)
        self.attention = ConsumerAttention(
            width, observation.pair_size(dimensions, most), width, config.policy.key_dim
        )  # fmt: skip

    def judge(self, seen: Observation, heard: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """See `SilentPolicy`."""
        own = torch.relu(self.own_encoder(seen.own))
        message = torch.relu(self.receiver(own)[:, :, None] + self.edge(_edges(seen, self.max_speed_mps)))
        weight = _masked_softmax(self.weigh(message), heard[..., None])
        collected = torch.einsum("bijh,bijf->bihf", weight, message).flatten(-2)
        features = torch.tanh(self.mixer(torch.cat([own, collected], -1)))
        embedding = self.consumer_encoder(seen.consumers, seen.consumer_mask)
        return features, self.attention(features, embedding, pair, seen.consumer_mask)


def silent_features(seen: Observation, known: Tensor, max_speed_mps: float) -> Tensor:
    """`pair_features` of agents that nobody tells what others intend.

    Args:
        seen: the observation.
        known: [B, N, R*] stock of all others that an agent knows of.
        max_speed_mps: m/s.
    """
    nothing = seen.need.new_zeros(*seen.position.shape[:2], *seen.need.shape[-2:])
    return observation.pair_features(seen, nothing, nothing, nothing[..., 0], known, max_speed_mps)


def _edge_size(dimensions: int, max_resources: int) -> int:
    """Fe of `_edges`."""
    return 1 + 2 * dimensions + max_resources


def _edges(seen: Observation, max_speed_mps: float) -> Tensor:
    """[B, N, N, Fe] what i knows of j by its beacon: distance, relative position, velocity, stock."""
    relative = (seen.position[:, None] - seen.position[:, :, None]) / observation.LENGTH_SCALE_M
    moving = torch.cat([seen.velocity / max_speed_mps, seen.stock], -1)
    sent = moving[:, None].expand(-1, relative.shape[1], -1, -1)
    return torch.cat([relative.norm(dim=-1, keepdim=True), relative, sent], -1)


def _masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the axis before the last; all zero where nothing is left by the mask."""
    logits = logits.masked_fill(~mask, -1e9)
    weight = (logits - logits.amax(-2, keepdim=True)).exp() * mask
    return weight / weight.sum(-2, keepdim=True).clamp(min=1e-9)
