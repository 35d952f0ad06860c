"""Symmetries of the policy, and agreement within clusters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sortie_core.config import load_config
from sortie_core.layout import sample_layout
from sortie_core.observation import Observation, observe
from sortie_policy import contraction
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.attention import cluster_support
from sortie_policy.graph_filter import shift_taps
from sortie_policy.kept_intents import UNKNOWN, KeptIntents
from sortie_policy.team_policy import Memory

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml")
N, M = 8, 4


@pytest.fixture(scope="module")
def policy() -> LGTCPolicy:
    torch.manual_seed(11)
    policy = LGTCPolicy(CONFIG)
    with torch.no_grad():
        policy.attention.wait_key.normal_()
        policy.wait_embedding.normal_()
        policy.memory.weight.mul_(100.0)
    return policy.eval()


@pytest.fixture(scope="module")
def scene() -> tuple[Observation, torch.Tensor, Memory]:
    state = sample_layout(CONFIG, [1, 2, 3], N, M, 2).map(torch.as_tensor)
    links = torch.rand(3, N, N, generator=torch.Generator().manual_seed(5)) < 0.5
    linked = (links | links.transpose(1, 2)) & ~torch.eye(N, dtype=torch.bool)
    random = torch.Generator().manual_seed(6)

    def told(size: int) -> torch.Tensor:
        """[3, N, N, size] what every agent has told all that know of it."""
        return torch.rand(3, 1, N, size, generator=random).expand(-1, N, -1, -1)

    kept = KeptIntents(
        age=torch.where(torch.rand(3, N, N, generator=random) < 0.3, UNKNOWN, 2),
        intent=told(M),
        stock=told(CONFIG.policy.max_resources),
        position=10 * told(2) - 5,
    )
    cell = torch.rand(3, N, CONFIG.policy.hidden, generator=random) * 2 - 1
    return observe(state, CONFIG), linked, Memory(cell, kept)


def test_permuting_agents_permutes_outputs(policy: LGTCPolicy, scene: tuple) -> None:
    seen, linked, memory = scene
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    agents = {name: getattr(seen, name)[:, order] for name in ("own", "position", "velocity", "stock")}
    permuted = Observation(**(vars(seen) | agents))
    with torch.no_grad():
        plain = policy(seen, linked, memory)[0]
        kept = memory.kept.map(lambda values: values[:, order][:, :, order])
        other = policy(permuted, linked[:, order][:, :, order], Memory(memory.state[:, order], kept))[0]
    for name in ("state", "attention", "log_choice", "correction", "value"):
        torch.testing.assert_close(getattr(other, name), getattr(plain, name)[:, order], atol=1e-5, rtol=1e-4)


def test_permuting_consumers_permutes_attention(policy: LGTCPolicy, scene: tuple) -> None:
    seen, linked, memory = scene
    order = torch.randperm(M, generator=torch.Generator().manual_seed(2))
    consumers = {
        name: getattr(seen, name)[:, order] for name in ("consumers", "consumer_mask", "consumer_position", "need")
    }
    with torch.no_grad():
        plain = policy(seen, linked, memory)[0]
        kept = KeptIntents(**(vars(memory.kept) | {"intent": memory.kept.intent[..., order]}))
        other = policy(Observation(**(vars(seen) | consumers)), linked, Memory(memory.state, kept))[0]
    columns = torch.cat([order, torch.tensor([M])])
    torch.testing.assert_close(other.attention, plain.attention[..., columns], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.state, plain.state, atol=1e-5, rtol=1e-4)


def test_a_masked_consumer_changes_nothing(policy: LGTCPolicy, scene: tuple) -> None:
    seen, linked, memory = scene
    more = {
        "consumers": torch.cat([seen.consumers, torch.full_like(seen.consumers[:, :1], 3.0)], 1),
        "consumer_mask": torch.cat([seen.consumer_mask, torch.zeros(3, 1, dtype=torch.bool)], 1),
        "consumer_position": torch.cat([seen.consumer_position, torch.zeros(3, 1, 2)], 1),
        "need": torch.cat([seen.need, torch.zeros_like(seen.need[:, :1])], 1),
    }
    with torch.no_grad():
        plain = policy(seen, linked, memory)[0]
        intent = torch.cat([memory.kept.intent, torch.zeros(3, N, N, 1)], -1)
        kept = KeptIntents(**(vars(memory.kept) | {"intent": intent}))
        other = policy(Observation(**(vars(seen) | more)), linked, Memory(memory.state, kept))[0]
    assert other.attention[..., M].max() == 0
    real = [*range(M), M + 1]
    torch.testing.assert_close(other.attention[..., real], plain.attention, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(other.state, plain.state, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(other.correction, plain.correction, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(other.value, plain.value, atol=1e-5, rtol=1e-4)


def test_attention_does_not_read_the_state(policy: LGTCPolicy, scene: tuple) -> None:
    seen, linked, memory = scene
    with torch.no_grad():
        plain = policy(seen, linked, memory)[0]
        other = policy(seen, linked, Memory(0 * memory.state, memory.kept))[0]
    assert torch.equal(plain.attention, other.attention)
    assert not torch.allclose(plain.log_choice, other.log_choice)


def test_only_neighbours_are_heard(policy: LGTCPolicy, scene: tuple) -> None:
    """Agents of a component of the graph decide the same whatever the others see."""
    seen, linked, memory = scene
    apart = linked.clone()
    apart[:, :4, 4:] = apart[:, 4:, :4] = False
    others = {name: getattr(seen, name).clone() for name in ("own", "position", "velocity", "stock")}
    for value in others.values():
        value[:, 4:] += 0.7
    with torch.no_grad():
        plain = policy(seen, apart, memory)[0]
        changed = policy(Observation(**(vars(seen) | others)), apart, memory)[0]
    torch.testing.assert_close(changed.state[:, :4], plain.state[:, :4])
    torch.testing.assert_close(changed.log_choice[:, :4], plain.log_choice[:, :4])
    assert not torch.allclose(changed.state[:, 4:], plain.state[:, 4:])


def converge(policy: LGTCPolicy, support: torch.Tensor, inputs: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    taps = shift_taps(support, inputs, CONFIG.policy.hops)
    for _ in range(400):
        state = policy.advance(shift_taps(support, state, CONFIG.policy.hops), taps)
    return state


def test_agents_with_equal_hard_attention_reach_the_same_state(policy: LGTCPolicy) -> None:
    generator = torch.Generator().manual_seed(4)
    cluster = torch.arange(12) % 3
    attention = torch.nn.functional.one_hot(cluster, 4).float()[None]
    linked = ~torch.eye(12, dtype=torch.bool)[None]
    embedding = torch.randn(1, 3, CONFIG.policy.hidden, generator=generator)
    inputs = attention[..., :3] @ embedding
    start = torch.rand(1, 12, CONFIG.policy.hidden, generator=generator) * 2 - 1
    with torch.no_grad():
        masked = converge(policy, cluster_support(linked, attention), inputs, start)[0]
        unmasked = converge(policy, torch.full((1, 12, 12), 1 / 12), inputs, start)[0]

    def spread(state: torch.Tensor) -> tuple[float, float]:
        means = torch.stack([state[cluster == k].mean(0) for k in range(3)])
        within = max((state[cluster == k] - means[k]).abs().max().item() for k in range(3))
        return within, (means[:, None] - means).abs().max().item()

    assert spread(masked)[0] < 1e-6
    assert spread(masked)[1] > spread(unmasked)[1]


def test_consensus_bound_holds_where_attention_is_soft(policy: LGTCPolicy) -> None:
    """Agents whose inputs and supports differ stay within 2 / c [L_u d_u + sum_k eps_k (|A_k| + 2 |A^_k|)]."""
    generator = torch.Generator().manual_seed(9)
    cell = policy.cell
    attention = torch.softmax(torch.tensor([[8.0, 0.0, 0.0]]) + 0.3 * torch.randn(1, 10, 3, generator=generator), -1)
    support = cluster_support(~torch.eye(10, dtype=torch.bool)[None], attention)
    embedding = torch.randn(1, 2, CONFIG.policy.hidden, generator=generator)
    inputs = attention[..., :2] @ embedding
    state = torch.rand(1, 10, CONFIG.policy.hidden, generator=generator) * 2 - 1
    with torch.no_grad():
        final = converge(policy, support, inputs, state)
        spread = (final[:, :, None] - final[:, None]).abs().max().item()
        c = contraction.contraction_rate(cell).item()
        taps = shift_taps(support, inputs, CONFIG.policy.hops)
        d_u = (taps[:, :, None] - taps[:, None]).abs().max().item()
        gain = 2 * contraction.filter_gain(cell.input_gate) + _opening(cell, taps) * contraction.filter_gain(
            cell.target
        )
        eps = 2 * (support[:, :, None] - support[:, None]).abs().sum(-1).max().item()
        couplings = (contraction.coupling_gain(cell) + 2 * contraction.gate_gain(cell)).max().item()
    assert c > 0
    assert spread <= 2 / c * (gain.max().item() * d_u + CONFIG.policy.hops * eps * couplings)


def _opening(cell: torch.nn.Module, input_taps: torch.Tensor) -> float:
    """The widest that the gates can open for states in the cube, 1/s."""
    state = contraction.gate_gain(cell) + cell.state_bias.abs()
    return (state + torch.relu(cell.input_gate(input_taps) + cell.input_bias).amax((0, 1))).max().item()
