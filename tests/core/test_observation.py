"""Observations: what an agent sees alone is its row of the batch, and padding is invisible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sortie_core import observation
from sortie_core.config import load_config
from sortie_core.delivery import presence_settled
from sortie_core.layout import sample_layout
from sortie_core.observation import observe, pair_features
from sortie_core.packets import Consumers, LocalView
from sortie_policy.runtime import see

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml", ["task.n_presence=1"])
STATE = sample_layout(CONFIG, range(3), 5, 4, 2)
STATE = STATE.replace(
    completed=np.arange(12).reshape(3, 4) % 5 == 0,
    demand_time_s=np.where(np.arange(12).reshape(3, 4) % 7 == 1, 9.0, 0.0).astype(np.float32),
    unmet=0.5 * STATE.unmet,
    presence_held_s=np.where(np.arange(12).reshape(3, 4) % 3 == 0, 2.0, 0.3).astype(np.float32),
)


def test_sizes_are_as_announced() -> None:
    seen = observe(STATE, CONFIG)
    most = CONFIG.policy.max_resources
    assert seen.own.shape == (3, 5, observation.own_size(2, most))
    assert seen.consumers.shape == (3, 4, observation.consumer_size(2, most))
    nothing = np.zeros((3, 5, 4, most), np.float32)
    assert pair_features(seen, nothing, nothing, nothing[..., 0], nothing[:, :, 0], 2.0).shape == (
        3, 5, 4, observation.pair_size(2, most),
    )  # fmt: skip


def test_an_agent_alone_sees_its_row_of_the_batch() -> None:
    batch = observe(STATE, CONFIG)
    for b in range(3):
        consumers = Consumers(
            *(getattr(STATE, name)[b] for name in ("consumer_position", "demand", "unmet")),
            STATE.active[b], STATE.completed[b], presence_settled(STATE, CONFIG)[b], STATE.presence[b],
        )  # fmt: skip
        for i in range(5):
            here = (STATE.position[b, i], STATE.velocity[b, i], STATE.stock[b, i])
            alone = see(LocalView(0, float(STATE.time_s[b]), *here, consumers), CONFIG)
            np.testing.assert_array_equal(alone.own[0, 0], batch.own[b, i])
            for name in ("consumers", "consumer_mask", "need", "consumer_position", "remaining_s"):
                np.testing.assert_array_equal(getattr(alone, name)[0], getattr(batch, name)[b])


def test_what_may_not_be_chosen_needs_nothing_and_presence_is_wanted_while_it_is_held() -> None:
    seen = observe(STATE, CONFIG)
    chosen = STATE.active & ~STATE.completed
    assert not seen.need[~chosen].any()
    np.testing.assert_array_equal(seen.need[chosen][:, 0], STATE.unmet[chosen][:, 0])
    settled = presence_settled(STATE, CONFIG)[chosen]
    assert settled.any()
    assert not settled.all()
    np.testing.assert_array_equal(seen.need[chosen][:, 1], np.where(settled, 0, STATE.demand[chosen][:, 1]))


def test_supply_reduces_what_is_useful() -> None:
    seen, most = observe(STATE, CONFIG), CONFIG.policy.max_resources
    supply = np.random.default_rng(0).uniform(0, 1, (3, 5, 4, most)).astype(np.float32)
    pair = pair_features(seen, supply, 0 * supply, supply[..., 0], supply[:, :, 0], 2.0)
    left = pair[..., 5 : 5 + most]
    np.testing.assert_allclose(left, np.maximum(seen.need[:, None] - supply, 0), atol=1e-6)
    unknown = pair[..., 5 + most : 5 + 2 * most]
    beyond = seen.need.sum(1)[:, None] - seen.stock - supply[:, :, 0]
    np.testing.assert_allclose(unknown[:, :, 2], np.maximum(beyond, 0), atol=1e-5)
    useful = pair[..., 5 + 3 * most : 5 + 4 * most]
    np.testing.assert_allclose(useful, np.minimum(seen.stock[:, :, None], left), atol=1e-6)


def test_two_stops_are_worth_what_they_bring_times_the_time_left() -> None:
    seen = observe(STATE, CONFIG)
    supply = np.random.default_rng(0).uniform(0, 0.4, (3, 5, 4, CONFIG.policy.max_resources)).astype(np.float32)
    pair = pair_features(seen, supply, supply, supply[..., 0], supply[:, :, 0], 2.0)
    left = np.maximum(seen.need[:, None] - supply, 0)
    gained = 0
    for b, i, m in np.ndindex(3, 5, 4):
        place, stock = seen.consumer_position[b], seen.stock[b, i]
        arrival_s = np.linalg.norm(place[m] - seen.position[b, i]) / 2.0
        amount = np.minimum(stock, left[b, i, m])
        alone = amount.sum() * max(seen.remaining_s[b] - arrival_s, 0)
        onward = [
            np.minimum(stock - amount, left[b, i, n]).sum()
            * max(seen.remaining_s[b] - arrival_s - np.linalg.norm(place[n] - place[m]) / 2.0 - 0.5, 0)
            for n in range(4) if n != m
        ]  # fmt: skip
        found = pair[b, i, m, -5:-3]
        np.testing.assert_allclose(found, np.array([alone, alone + max(onward)]) / 10.0, atol=1e-4)
        gained += max(onward) > 0
    assert gained > 10


@pytest.mark.parametrize("name", ["own", "consumers", "need"])
def test_numpy_equals_torch(name: str) -> None:
    here, there = observe(STATE, CONFIG), observe(STATE.map(torch.as_tensor), CONFIG)
    np.testing.assert_allclose(getattr(there, name).numpy(), getattr(here, name), atol=1e-6)


def test_pair_features_are_the_same_in_torch() -> None:
    here, there = observe(STATE, CONFIG), observe(STATE.map(torch.as_tensor), CONFIG)
    supply = np.random.default_rng(1).uniform(0, 1, (2, 3, 5, 4, CONFIG.policy.max_resources)).astype(np.float32)
    own = (supply[0, ..., 0], supply[0, :, :, 0])
    expected = pair_features(here, *supply, *own, 2.0)
    found = pair_features(there, *torch.as_tensor(supply), *map(torch.as_tensor, own), 2.0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
