"""The communication graph and its support."""

from __future__ import annotations

import math

import numpy as np
from hand_made_missions import random_state
from hypothesis import given, settings
from hypothesis import strategies as st

from sortie_core.comm_graph import adjacency, squared_distances, support


def line(*x: float):
    return np.array([[[value, 0.0] for value in x]], dtype=np.float32)


def everybody(position: np.ndarray):
    return np.ones(position.shape[:2], dtype=bool)


def test_agents_within_the_radius_hear_each_other():
    position = line(0, 1, 3)
    expected = [[False, True, False], [True, False, True], [False, True, False]]
    np.testing.assert_array_equal(adjacency(position, everybody(position), 2.0)[0], expected)


def test_the_radius_itself_is_in_range_and_infinity_reaches_everybody_but_oneself():
    position = line(0, 2, 1000)
    assert adjacency(position, everybody(position), 2.0)[0, 0, 1]
    np.testing.assert_array_equal(adjacency(position, everybody(position), math.inf)[0], ~np.eye(3, dtype=bool))


def test_failed_agents_and_padding_are_alone():
    position, alive = line(0, 0.1, 0.2), np.array([[True, False, True]])
    linked = adjacency(position, alive, 1.0)[0]
    np.testing.assert_array_equal(linked, [[False, False, True], [False, False, False], [True, False, False]])
    np.testing.assert_allclose(support(linked[None])[0], [[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])


def test_padding_is_infinitely_far_away_and_so_is_every_agent_from_itself():
    squared = squared_distances(line(0, 2, 2), np.array([[True, True, False]]))[0]
    np.testing.assert_allclose(squared, [[np.inf, 4, np.inf], [4, np.inf, np.inf], [np.inf] * 3])


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius_m=st.sampled_from([0.0, 0.3, 1.0, math.inf]),
    dimensions=st.sampled_from([2, 3]),
)
def test_the_graph_is_symmetric_and_its_support_is_row_stochastic(seed: int, radius_m: float, dimensions: int):
    state = random_state(np.random.default_rng(seed), 2, 6, dimensions=dimensions)
    linked = adjacency(state.position, state.alive, radius_m)
    np.testing.assert_array_equal(linked, np.swapaxes(linked, 1, 2))
    for b, i, j in np.ndindex(2, 6, 6):
        both = i != j and state.alive[b, i] and state.alive[b, j]
        gap_m = np.linalg.norm(state.position[b, i] - state.position[b, j])
        assert linked[b, i, j] == (both and gap_m <= radius_m)
    weights = support(linked)
    np.testing.assert_allclose(weights.sum(axis=2), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(weights > 0, linked | np.eye(6, dtype=bool))
    assert np.all(np.ptp(np.where(weights > 0, weights, weights.max(axis=2, keepdims=True)), axis=2) < 1e-6)
