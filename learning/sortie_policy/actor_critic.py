"""The LGTC policy: five local stages, and the batched forward pass that joins them by graph supports.

Between the stages stands one radio round each (see `sortie_core.packets`), so that a single agent runs the very same
stages and gets from its neighbours' packets what the batched pass gets from matrix products:

    encode -> K rounds: taps -> mix, attend -> 1 round: Xi0 -> attend -> 1 round: Xi1, u, x -> attend
           -> K-1 rounds: taps of u and x -> advance, act

Attention is computed three times: alone, then twice with the neighbours' intended supply. The second one, which
neighbours exchange, is the Xi that masks the cell's support and weighs its input; the third decides. LGTC-IPPO (arXiv
2503.02437) leaves these equations open; they are this project's design.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sortie_core import comm_graph, observation
from sortie_policy.attention import ConsumerAttention, ConsumerEncoder, cluster_support, intended_supply, mlp
from sortie_policy.graph_filter import GraphFilter, shift_taps
from sortie_policy.lgtc_cell import LGTCCell

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config


@dataclass
class Perception:
    """What a decision takes from observations and packets alone: the attention does not read the state.

    Attributes:
        own: [B, N, Fo] from the observation.
        mixed: [B, N, F] psi~.
        embedding: [B, M, F] e.
        pair: [B, N, M, Fp] after the second exchange.
        log_attention: [B, N, M + 1] the final log Xi.
        supports: [B, K, N, N] the cell's support S^Xi in each of its K rounds.
        input_taps: [B, N, K + 1, F] taps of the cell's input u.
    """

    own: Tensor
    mixed: Tensor
    embedding: Tensor
    pair: Tensor
    log_attention: Tensor
    supports: Tensor
    input_taps: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Perception:
        """A perception with `function` applied to every tensor."""
        return Perception(**{name: function(value) for name, value in vars(self).items()})


@dataclass
class Deliberation:
    """The outcome of one decision of a batch of teams.

    Attributes:
        state: [B, N, F] next state x of the cells.
        attention: [B, N, M + 1] the final Xi.
        log_choice: [B, N, M + 1] log probability of choosing each consumer or "wait".
        correction: [B, N, D] mean of the velocity correction before its tanh.
        value: [B, N] cluster value, S^Xi V.
        support: [B, N, N] S^Xi.
    """

    state: Tensor
    attention: Tensor
    log_choice: Tensor
    correction: Tensor
    value: Tensor
    support: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Deliberation:
        """A deliberation with `function` applied to every tensor."""
        return Deliberation(**{name: function(value) for name, value in vars(self).items()})


class LGTCPolicy(nn.Module):
    """Shared by all agents; sizes from the configuration.

    Args:
        config: `policy`, `task.dimensions`, `world.dt_s` and `world.max_speed_mps` are read.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes, dimensions = config.policy, config.task.dimensions
        self.hops, self.hidden = sizes.hops, sizes.hidden
        self.dt_s = config.world.dt_s * sizes.decision_steps
        self.max_speed_mps = config.world.max_speed_mps
        self.relative = slice(observation.RELATIVE, observation.RELATIVE + dimensions)
        features, width = sizes.hidden, sizes.mlp_width
        own_size = observation.own_size(dimensions, sizes.max_resources)
        pair_size = observation.pair_size(dimensions, sizes.max_resources)
        self.own_encoder = mlp([own_size, width, features])
        consumer_size = observation.consumer_size(dimensions, sizes.max_resources)
        self.consumer_encoder = ConsumerEncoder(consumer_size, width, features)
        self.mixer = GraphFilter(features, features, sizes.hops)
        self.attention = ConsumerAttention(features, pair_size, width, sizes.key_dim)
        self.cell = LGTCCell(
            features, features, sizes.hops, sizes.rate_min_per_s, sizes.rate_max_per_s, sizes.integrator
        )
        self.memory = nn.Linear(features, features)
        self.wait_embedding = nn.Parameter(torch.zeros(features))
        self.corrector = mlp([2 * features + own_size + dimensions, width, dimensions])
        self.log_std = nn.Parameter(torch.full((dimensions,), -1.0))
        self.critic = mlp([2 * features + pair_size, width, width, 1])
        with torch.no_grad():
            # A new policy acts on Xi alone.
            for parameter in (*self.memory.parameters(), *self.corrector[-1].parameters()):
                parameter.mul_(0.01)

    # The five local stages. Each works on any number of agents, 1 in a deployed one.

    def encode(self, own: Tensor, consumers: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, Fo], [B, M, Fc] and [B, M] bool give psi [B, N, F] and e [B, M, F]."""
        return torch.tanh(self.own_encoder(own)), self.consumer_encoder(consumers, mask)

    def mix(self, taps: Tensor) -> Tensor:
        """[B, N, K + 1, F] taps of psi give psi~ [B, N, F]."""
        return torch.tanh(self.mixer(taps))

    def attend(self, mixed: Tensor, embedding: Tensor, pair: Tensor, mask: Tensor) -> Tensor:
        """psi~, e, pair features [B, N, M, Fp] and the mask [B, M] give log Xi [B, N, M + 1]."""
        return self.attention(mixed, embedding, pair, mask)

    def advance(self, state_taps: Tensor, input_taps: Tensor) -> Tensor:
        """[B, N, K + 1, F] taps of x and of u give the next x [B, N, F]."""
        return self.cell(state_taps, input_taps, self.dt_s)

    def act(
        self, state: Tensor, mixed: Tensor, own: Tensor, embedding: Tensor, pair: Tensor, log_attention: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The action's distribution.

        The choice starts from Xi and is biased by what the state remembers, ``log Xi_im + <W x_i, e_m> / sqrt(F)``.

        Returns:
            log probabilities of the choice [B, N, M + 1] and the mean correction [B, N, D] before its tanh.
        """
        remembered = self.memory(state)
        bias = (remembered[..., None, :] * embedding[:, None]).sum(-1)
        wait = (remembered * self.wait_embedding).sum(-1, keepdim=True)
        bias = torch.cat([bias, wait], -1) / math.sqrt(self.hidden)
        attended = (log_attention[..., :-1, None].exp() * pair[..., self.relative]).sum(-2)
        correction = self.corrector(torch.cat([state, mixed, attended, own], -1))
        return torch.log_softmax(log_attention + bias, -1), correction

    # The batched pass.

    def perceive(self, seen: observation.Observation, adjacency: Tensor) -> Perception:
        """All of a decision that does not depend on the state.

        Args:
            seen: observations of B teams.
            adjacency: [B, N, N] bool, who hears whom; or [B, 2K + 1, N, N] by round, from `rounds.draw_rounds`.
        """
        hears = [adjacency] * (2 * self.hops + 1) if adjacency.ndim == 3 else list(adjacency.unbind(1))
        psi, embedding = self.encode(seen.own, seen.consumers, seen.consumer_mask)
        mixed = self.mix(shift_taps([comm_graph.support(linked) for linked in hears[: self.hops]], psi, self.hops))
        distance = (seen.consumer_position[:, None] - seen.position[:, :, None]).norm(dim=-1)

        nothing = seen.need.new_zeros(*distance.shape, seen.need.shape[-1])
        pair = observation.pair_features(seen, nothing, nothing, self.max_speed_mps)
        log_attention = self.attend(mixed, embedding, pair, seen.consumer_mask)
        for linked in hears[self.hops : self.hops + 2]:
            attention = log_attention.exp()
            supply, closer = intended_supply(linked, attention, seen.stock, distance)
            pair = observation.pair_features(seen, supply, closer, self.max_speed_mps)
            log_attention = self.attend(mixed, embedding, pair, seen.consumer_mask)

        supports = [cluster_support(linked, attention) for linked in hears[self.hops + 1 :]]
        return Perception(
            own=seen.own,
            mixed=mixed,
            embedding=embedding,
            pair=pair,
            log_attention=log_attention,
            supports=torch.stack(supports, 1),
            input_taps=shift_taps(supports, attention[..., :-1] @ embedding, self.hops),
        )

    def remember(self, perception: Perception, state: Tensor) -> Tensor:
        """The state [B, N, F] advanced by one decision."""
        return self.advance(shift_taps(perception.supports.unbind(1), state, self.hops), perception.input_taps)

    def outcome(self, perception: Perception, new_state: Tensor) -> Deliberation:
        """Action and value at an advanced state [B, N, F]."""
        seen = perception
        log_choice, correction = self.act(
            new_state, seen.mixed, seen.own, seen.embedding, seen.pair, seen.log_attention
        )
        attention = seen.log_attention.exp()
        pooled = (attention[..., :-1, None] * seen.pair).sum(-2)
        value = self.critic(torch.cat([new_state, seen.mixed, pooled], -1))
        support = seen.supports[:, 0]
        return Deliberation(
            state=new_state,
            attention=attention,
            log_choice=log_choice,
            correction=correction,
            value=(support @ value).squeeze(-1),
            support=support,
        )

    def forward(self, seen: observation.Observation, adjacency: Tensor, state: Tensor) -> Deliberation:
        """One decision of every agent: perceive, remember, act."""
        perception = self.perceive(seen, adjacency)
        return self.outcome(perception, self.remember(perception, state))

    def initial_state(self, batch: int, n_agents: int) -> Tensor:
        """[B, N, F] zeros."""
        return next(self.parameters()).new_zeros(batch, n_agents, self.hidden)
