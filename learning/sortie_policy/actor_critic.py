"""The LGTC policy: five local stages, and the batched forward pass that joins them by graph supports.

Between the stages stands one radio round each (see `sortie_core.packets`), so that a single agent runs the very same
stages and gets from its neighbours' packets what the batched pass gets from matrix products:

    encode -> K rounds: taps -> mix, attend -> E rounds: Xi, kept intentions (with the last: u, x) -> attend after each
           -> K-1 rounds: taps of u and x -> advance, act

Attention is computed before the first and after each of the E exchanges of intended supply. The last one that
neighbours exchange is the Xi that masks the cell's support and weighs its input; the one after it decides. LGTC-IPPO
(arXiv 2503.02437) leaves these equations open; they are this project's design.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sortie_core import comm_graph, observation
from sortie_policy import contraction
from sortie_policy.attention import ConsumerAttention, ConsumerEncoder, by_agent, cluster_support, mlp
from sortie_policy.graph_filter import GraphFilter, shift_taps
from sortie_policy.intent_exchange import IntentExchange
from sortie_policy.lgtc_cell import LGTCCell
from sortie_policy.rounds import by_round, split_rounds
from sortie_policy.team_policy import Deliberation, Recalled, TeamPolicy
from sortie_policy.utterance import Utterance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sortie_core.config import Config
    from sortie_policy.kept_intents import KeptIntents


@dataclass
class Perception:
    """What a decision takes from observations and packets alone: the attention does not read the state.

    Attributes:
        own: [B, N, Fo] from the observation.
        mixed: [B, N, F] psi~.
        embedding: [B, M, F] e; or [B, N, M, F] where demands are not broadcast.
        pair: [B, N, M, Fp] after the last exchange.
        log_attention: [B, N, M + 1] the final log Xi.
        supports: [B, K, N, N] the cell's support S^Xi in each of its K rounds.
        input_taps: [B, N, K + 1, F] taps of the cell's input u.
        late_states: [B, K, N, F] what the others are heard to say of x in each round, where packets are late.
        said: what is said in this decision but for x, where packets are late and nothing is replayed.
    """

    own: Tensor
    mixed: Tensor
    embedding: Tensor
    pair: Tensor
    log_attention: Tensor
    supports: Tensor
    input_taps: Tensor
    late_states: Tensor | None = None
    said: Utterance | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Perception:
        """A perception with `function` applied to every tensor."""
        parts = {name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Perception(**parts, said=self.said and self.said.map(function))


class LGTCPolicy(TeamPolicy):
    """Shared by all agents; sizes from the configuration.

    Args:
        config: `policy`, `task.dimensions`, `world.dt_s` and `world.max_speed_mps` are read.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes, dimensions = config.policy, config.task.dimensions
        self.hops, self.hidden, self.exchanges = sizes.hops, sizes.hidden, sizes.exchanges
        self.keep_rounds = sizes.keep_decisions * sizes.exchanges
        self.graph_filter, self.cluster_mask = sizes.graph_filter, sizes.cluster_mask
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
        self.kind = sizes.cell
        if sizes.cell == "lgtc":
            self.cell: nn.Module = LGTCCell(
                features, features, sizes.hops, sizes.rate_min_per_s, sizes.rate_max_per_s, sizes.integrator
            )
        elif sizes.cell == "gru":
            self.cell = nn.GRUCell(features, features)
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
        if self.kind == "lgtc":
            return self.cell(state_taps, input_taps, self.dt_s)
        state, driven = state_taps[..., 0, :], input_taps[..., 0, :]
        if self.kind == "gru":
            return self.cell(driven.flatten(0, -2), state.flatten(0, -2)).view_as(state)
        # Nothing is remembered; that the state is read keeps it among the inputs of the exported stage.
        return torch.tanh(driven) + 0.0 * state

    def act(
        self, state: Tensor, mixed: Tensor, own: Tensor, embedding: Tensor, pair: Tensor, log_attention: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The action's distribution.

        The choice starts from Xi and is biased by what the state remembers, ``log Xi_im + <W x_i, e_m> / sqrt(F)``.

        Returns:
            log probabilities of the choice [B, N, M + 1] and the mean correction [B, N, D] before its tanh.
        """
        remembered = self.memory(state)
        bias = (remembered[..., None, :] * by_agent(embedding, 4)).sum(-1)
        wait = (remembered * self.wait_embedding).sum(-1, keepdim=True)
        bias = torch.cat([bias, wait], -1) / math.sqrt(self.hidden)
        attended = (log_attention[..., :-1, None].exp() * pair[..., self.relative]).sum(-2)
        correction = self.corrector(torch.cat([state, mixed, attended, own], -1))
        return torch.log_softmax(log_attention + bias, -1), correction

    # The batched pass.

    def perceive(
        self,
        seen: observation.Observation,
        adjacency: Tensor,
        kept: KeptIntents | None,
        recalled: Recalled | None = None,
        said: Utterance | None = None,
    ) -> tuple[Perception, Recalled, KeptIntents | None]:
        """See `TeamPolicy`."""
        replayed, late = recalled is not None, recalled.said if recalled else said
        links = adjacency if late is None else late.links
        feature_rounds, intent_rounds, state_rounds = split_rounds(links, self.hops, self.exchanges)
        psi, embedding = self.encode(seen.own, seen.consumers, seen.consumer_mask)
        filters = [comm_graph.support(linked if self.graph_filter else linked & False) for linked in feature_rounds]
        feature_taps = shift_taps(filters, psi, self.hops, late.features if late else None)
        mixed = self.mix(feature_taps)
        if recalled is None:
            if kept is None:
                raise ValueError("a decision needs the tables of kept intentions, or what is recalled of it")
            talk = IntentExchange(seen, kept, late, self.keep_rounds, self.exchanges, self.max_speed_mps)
            recalled = self._talk(talk, mixed, embedding, seen.consumer_mask, intent_rounds, late)
        log_attention = self.attend(mixed, embedding, recalled.pair, seen.consumer_mask)

        supports = [self._cell_support(linked, recalled.attention, late) for linked in state_rounds]
        inputs = _attended(recalled.attention, embedding)
        input_taps = shift_taps(supports, inputs, self.hops, late.inputs if late else None)
        perception = Perception(
            own=seen.own,
            mixed=mixed,
            embedding=embedding,
            pair=recalled.pair,
            log_attention=log_attention,
            supports=torch.stack(supports, 1),
            input_taps=input_taps,
            late_states=late.states if late else None,
        )
        if replayed:
            return perception, recalled, None
        if said is not None:
            links = by_round(adjacency, self.hops, self.exchanges)
            features, inputs = (_as_said(taps) for taps in (feature_taps, input_taps))
            perception.said = Utterance(links, features, recalled.attention, inputs, said.states, talk.tables())
        return perception, recalled, talk.kept

    @torch.no_grad()
    def _talk(
        self, talk: IntentExchange, mixed: Tensor, embedding: Tensor, mask: Tensor, rounds: Sequence[Tensor],
        late: Utterance | None,
    ) -> Recalled:  # fmt: skip
        """All exchanges. What others say is observed: no gradient goes back to those who said it."""
        for linked in rounds:
            attention = self.attend(mixed, embedding, talk.pair(), mask).exp()
            if self.exchanges:
                talk.exchange(attention, linked)
        return Recalled(talk.pair(), attention, late and late.without_tables())

    def _cell_support(self, linked: Tensor, attention: Tensor, late: Utterance | None) -> Tensor:
        if self.cluster_mask:
            return cluster_support(linked, attention, late.attention if late else None)
        return cluster_support(linked, torch.ones_like(attention))

    def remember(self, perception: Perception, state: Tensor) -> Tensor:
        """See `TeamPolicy`."""
        return self.advance(self._state_taps(perception, state), perception.input_taps)

    def _state_taps(self, perception: Perception, state: Tensor) -> Tensor:
        return shift_taps(perception.supports.unbind(1), state, self.hops, perception.late_states)

    def silence(self, kept: KeptIntents) -> Utterance:
        """See `TeamPolicy`."""
        return Utterance.silence(kept, self.hidden, self.hops, self.exchanges)

    def utter(self, perception: Perception, state: Tensor) -> Utterance:
        """See `TeamPolicy`."""
        if perception.said is None:
            raise ValueError("this perception is not of agents whose packets are late")
        return replace(perception.said, states=_as_said(self._state_taps(perception, state)))

    def outcome(self, perception: Perception, new_state: Tensor) -> Deliberation:
        """See `TeamPolicy`."""
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

    def set_temperature(self, temperature: float) -> None:
        """See `TeamPolicy`."""
        self.attention.temperature.fill_(temperature)

    def contraction_rate(self) -> float:
        """See `TeamPolicy`."""
        cell = getattr(self, "cell", None)
        return contraction.contraction_rate(cell).item() if isinstance(cell, LGTCCell) else math.nan


def _attended(attention: Tensor, embedding: Tensor) -> Tensor:
    """[B, N, F] the cell's input u, embeddings [B, M, F] or [B, N, M, F] weighed by [B, N, M + 1] attention."""
    weights = attention[..., :-1]
    return weights @ embedding if embedding.ndim == 3 else (weights[..., None, :] @ embedding).squeeze(-2)


def _as_said(taps: Tensor) -> Tensor:
    """[B, K, N, F] what each round carries of taps [B, N, K + 1, F]."""
    return taps[..., :-1, :].transpose(1, 2)
