"""The reward's terms, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hand_made_missions import configuration, mission

from sortie_core import reward
from sortie_core.comm_graph import squared_distances
from sortie_core.delivery import deliver
from sortie_core.metrics import delivered_share

CONFIG = configuration("world.collision_distance_m=0.3", "world.safe_distance_m=0.6", "train.gamma_per_s=0.9")


def two_deliverers(**changes: object):
    """Agents 0 and 1 serve consumer 0, agent 2 serves nobody; U_0 = 0.4 + 0.6."""
    return mission([[0, 0], [0.5, 0], [3, 3]], [[1.0], [0.05], [1.0]], [[0, 0], [9, 9]], [[0.4], [0.6]], **changes)


def test_demand_reduction_is_shared_by_all_who_live():
    before = two_deliverers(failure_time_s=[np.inf, np.inf, 0.0])
    after, _ = deliver(before, CONFIG)
    np.testing.assert_allclose(reward.demand(before, after), [[0.15, 0.15, 0.0]], rtol=1e-5)


def test_demand_reduction_telescopes_to_the_delivered_share():
    state, total = two_deliverers(), 0.0
    for _ in range(10):
        before, (state, _) = state, deliver(state, CONFIG)
        total += reward.demand(before, state)[0, 0]
    assert total == pytest.approx(delivered_share(state)[0], rel=1e-5) and total > 0.3


def test_a_changed_demand_is_neither_reward_nor_penalty():
    config = configuration("task.demand_change_share=0.5")
    before = two_deliverers(demand_change_s=[0.05, np.inf], new_demand=[[2.0], [0.0]])
    after, _ = deliver(before, config)
    assert after.unmet[0, 0, 0] == 2
    np.testing.assert_allclose(reward.demand(before, after), np.full((1, 3), 0.15 / 2.75), rtol=1e-5)


def test_own_delivery_is_measured_in_fair_shares():
    before = two_deliverers()
    after, _ = deliver(before, CONFIG)
    np.testing.assert_allclose(reward.own_delivery(before, after), [[0.3, 0.15, 0.0]], rtol=1e-5)
    padded = two_deliverers(present=[True, True, False])
    after, _ = deliver(padded, CONFIG)
    np.testing.assert_allclose(reward.own_delivery(padded, after), [[0.2, 0.1, 0.0]], rtol=1e-5)


def test_collision_counts_contact_and_closeness_of_every_other():
    # Distances 0.2 (contact), 0.45 and 0.65 to each other; agent 3 is padding in the middle of them.
    state = mission(
        [[0, 0], [0.2, 0], [0.65, 0], [0.1, 0]], [[0]] * 4, [[9, 9]], [[1]], present=[True, True, True, False]
    )
    squared = squared_distances(state.position, state.present)
    touching, near = 1 + 0.5 * (0.4 / 0.6) ** 2, 0.5 * (0.15 / 0.6) ** 2
    np.testing.assert_allclose(
        reward.collision(squared, state.alive, 0.3, 0.6), [[-touching, -touching - near, -near, 0]], rtol=1e-5
    )


def test_a_failed_drone_is_an_obstacle_but_earns_nothing():
    state = mission([[0, 0], [0.2, 0]], [[0]] * 2, [[9, 9]], [[1]], failure_time_s=[np.inf, 0.0])
    squared = squared_distances(state.position, state.present)
    earned = reward.collision(squared, state.alive, 0.3, 0.6)[0]
    assert earned[0] < -1 and earned[1] == 0


def test_completion_pays_those_who_serve_when_it_happens_and_only_then():
    before = two_deliverers(unmet=[[0.1], [0.6]])
    middle, served = deliver(before, CONFIG)
    np.testing.assert_array_equal(reward.completion(before, middle, served), [[1, 1, 0]])
    after, served = deliver(middle, CONFIG)
    np.testing.assert_array_equal(reward.completion(middle, after, served), [[0, 0, 0]])


def test_guidance_is_the_change_of_a_potential_towards_the_assigned_consumer():
    before = mission([[0, 0], [0, 1], [4, 0], [1, 1]], [[1]] * 4, [[3, 4], [0, 0]], [[1], [1]])
    after = before.replace(position=before.position + np.float32([0, 1]))
    gamma, diameter = 0.9**0.1, 10 * math.sqrt(2)
    earned = reward.guidance(before, after, np.array([[0, 1, -1, 2]]), CONFIG)
    expected = [5 - gamma * math.hypot(3, 3), 1 - gamma * 2, 0, 0]
    np.testing.assert_allclose(earned, [np.array(expected) / diameter], rtol=1e-5, atol=1e-7)


def test_terms_are_weighted_by_the_keys_of_the_same_name():
    config = configuration(
        "reward.demand=2.0", "reward.own_delivery=0.0", "reward.completion=3.0", "reward.guidance=5.0"
    )
    before = two_deliverers(unmet=[[0.1], [0.6]])
    after, served = deliver(before, config)
    squared = squared_distances(after.position, after.present)
    assignment = np.array([[0, 0, 1]])
    terms = reward.reward_terms(before, after, served, squared, config, assignment)
    assert set(terms) == set(type(config.reward).model_fields)
    np.testing.assert_allclose(terms["demand"], 2 * reward.demand(before, after))
    np.testing.assert_allclose(terms["completion"], [[3, 3, 0]])
    np.testing.assert_allclose(terms["guidance"], 5 * reward.guidance(before, after, assignment, config))
    assert np.all(terms["own_delivery"] == 0)
    assert "guidance" not in reward.reward_terms(before, after, served, squared, config)
