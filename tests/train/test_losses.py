"""The losses of independent PPO against numbers worked out by hand and against definitions."""

from __future__ import annotations

import math

import pytest
import torch

from sortie_train import losses


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


def test_advantage_of_one_episode_by_hand() -> None:
    going, over = torch.tensor([[False], [False]]), torch.tensor([[False], [True]])
    result = losses.generalised_advantage(column(1, 2), column(0.5, 1), column(1, 9), over, over, 0.9, 0.5)
    last = 2 - 1.0
    assert result.flatten().tolist() == pytest.approx([1 + 0.9 * 1 - 0.5 + 0.45 * last, last])
    truncated = losses.generalised_advantage(column(1, 2), column(0.5, 1), column(1, 9), over, going, 0.9, 0.5)
    assert truncated.flatten()[1].item() == pytest.approx(2 + 0.9 * 9 - 1), "truncation is bootstrapped"


def test_nothing_leaks_across_the_end_of_an_episode() -> None:
    ended = torch.tensor([[True], [False]])
    one, other = (
        losses.generalised_advantage(column(1, r), column(0, 0), column(0, 0), ended, ended, 0.9, 0.9) for r in (0, 100)
    )
    assert one[0] == other[0]


def test_the_surrogate_is_clipped_only_where_it_would_gain() -> None:
    weight = torch.ones(4)
    log_ratio = torch.tensor([2.0, 0.5, 2.0, 0.5]).log().requires_grad_()
    loss = losses.clipped_surrogate(log_ratio, torch.tensor([1.0, 1.0, -1.0, -1.0]), weight, 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 2.0 - 0.8) / 4)
    loss.backward()
    assert [bool(g) for g in log_ratio.grad] == [False, True, True, False]


def test_masked_agents_do_not_count() -> None:
    weight = torch.tensor([1.0, 1.0, 0.0])
    values = torch.tensor([1.0, 3.0, 1e9])
    assert losses.weighted_mean(values, weight) == 2
    assert losses.normalised(values, weight)[:2].tolist() == pytest.approx([-1, 1])


def test_density_and_entropy_of_the_mixed_action() -> None:
    log_choice = torch.tensor([0.25, 0.75, 0.0]).log().clamp(min=-1e9)
    drawn = torch.zeros(2)
    found = losses.log_probability(log_choice, torch.tensor(1), drawn, torch.zeros(2), drawn)
    assert found.item() == pytest.approx(math.log(0.75) - math.log(2 * math.pi))
    assert losses.entropy(log_choice).item() == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))


def test_divergence_is_zero_only_without_change() -> None:
    weight = torch.ones(3)
    assert losses.divergence(torch.zeros(3), weight) == 0
    assert losses.divergence(torch.tensor([0.1, -0.2, 0.0]), weight) > 0
