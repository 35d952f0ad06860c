"""The PettingZoo environment passes PettingZoo's own contract tests."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from sortie_core.config import load_config
from sortie_core.layout import sample_layout
from sortie_core.observation import LENGTH_SCALE_M
from sortie_sim.pettingzoo_env import DeliveryEnv

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "delivery.yaml"
EVENTFUL = load_config(CONFIG_FILE, ["team.failure_probability=0.4", "task.duration_s=8.0", "team.n_agents=5"])


@pytest.mark.parametrize("action", ["velocity", "choice"])
def test_parallel_api(action: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(DeliveryEnv(EVENTFUL, action), num_cycles=200)


@pytest.mark.parametrize("action", ["velocity", "choice"])
def test_parallel_seed(action: str):
    parallel_seed_test(lambda: DeliveryEnv(EVENTFUL, action), num_cycles=60)


def test_observations_lie_in_their_space_and_hold_neighbours_in_range_only():
    config = load_config(CONFIG_FILE, ["comm.radius_m=2.0"])
    env = DeliveryEnv(config)
    observations, _ = env.reset(seed=7)
    position = sample_layout(config, [7]).position[0]
    gaps = np.linalg.norm(position[:, None] - position[None], axis=-1)
    width = 2 * config.task.dimensions + config.policy.max_resources + 1
    seen = 0
    for i, agent in enumerate(env.agents):
        assert env.observation_space(agent).contains(observations[agent])
        others = observations[agent][-width * 7 :].reshape(7, width)
        expected = np.delete(position - position[i], i, axis=0) / LENGTH_SCALE_M
        near = np.delete(gaps[i] <= 2.0, i)
        np.testing.assert_array_equal(others[:, -1] == 1, near)
        np.testing.assert_allclose(others[near, :2], expected[near], rtol=1e-5)
        assert np.all(others[~near] == 0)
        seen += near.sum()
    assert 0 < seen < 56


def test_actions_are_shares_of_the_highest_speed_and_rewards_are_the_sum_of_their_terms():
    env = DeliveryEnv(EVENTFUL)
    observations, _ = env.reset(seed=1)
    for _ in range(20):
        actions = {agent: np.array([1.0, 0.0], np.float32) for agent in env.agents}
        observations, rewards, _, _, infos = env.step(actions)
    survivors = [agent for agent in env.agents]
    speed = observations[survivors[0]][2]
    assert speed == pytest.approx(1.0, abs=1e-3)  # own velocity is given over world.max_speed_mps
    for agent in survivors:
        assert rewards[agent] == pytest.approx(sum(infos[agent]["reward_terms"].values()), abs=1e-6)


def test_actions_that_are_none_are_refused():
    env = DeliveryEnv(EVENTFUL)
    env.reset(seed=1)
    for action, reason in (
        (np.full(2, np.nan), "velocities must be finite"),
        (1.0, r"of drone_0 must be of shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=reason):
            env.step({"drone_0": action})


def test_resets_without_a_seed_bring_new_missions_that_repeat_after_a_seed():
    env = DeliveryEnv(EVENTFUL)

    def positions(seed: int | None = None) -> np.ndarray:
        observations, _ = env.reset(seed=seed)
        return observations["drone_0"][:2]

    first, second, third = positions(3), positions(), positions()
    assert not np.array_equal(second, third)
    np.testing.assert_array_equal(positions(3), first)
    np.testing.assert_array_equal(positions(), second)
