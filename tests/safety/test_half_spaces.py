"""The projection is the solution of its quadratic program, whatever is asked of it."""

from __future__ import annotations

from typing import NamedTuple

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sortie_safety.half_spaces import _SLACK_COST, nearest_allowed


class Instance(NamedTuple):
    """The arguments of `nearest_allowed`."""

    wanted: np.ndarray
    normal: np.ndarray
    bound: np.ndarray
    n_soft: int


def violation(given: Instance, velocity: np.ndarray) -> np.ndarray:
    return given.bound - given.normal @ velocity


def instance(seed: int, *, common: bool = False) -> tuple[Instance, np.ndarray]:
    """A random one, and a velocity that all hard bounds allow; with `common`, the soft ones too."""
    rng = np.random.default_rng(seed)
    axes, rows = int(rng.integers(2, 4)), int(rng.integers(1, 15))
    normal = rng.normal(size=(rows, axes))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    n_soft, allowed = int(rng.integers(0, rows + 1)), rng.normal(size=axes)
    room = np.where(rng.random(rows) < 0.3, 0.0, rng.uniform(0, 2, size=rows))
    bound = normal @ allowed - room
    if not common:
        bound[:n_soft] = rng.uniform(-1, 3, size=n_soft)
    return Instance(3 * rng.normal(size=axes), normal, bound, n_soft), allowed


def solved(given: Instance) -> tuple[np.ndarray, float]:
    """The same program by an interior-point method: velocity and cost."""
    velocity, slack = cp.Variable(len(given.wanted)), cp.Variable(nonneg=True)
    soft = np.arange(len(given.bound)) < given.n_soft
    rows = given.normal @ velocity + cp.multiply(soft / _SLACK_COST, slack) >= given.bound
    problem = cp.Problem(cp.Minimize(cp.sum_squares(velocity - given.wanted) + slack**2), [rows])
    return np.asarray((problem.solve(solver=cp.CLARABEL), velocity.value)[1]), float(problem.value)


@pytest.mark.parametrize("common", [True, False])
def test_it_solves_the_quadratic_program(common: bool) -> None:
    for seed in range(60):
        given, _ = instance(seed, common=common)
        velocity = nearest_allowed(*given)
        reference, least = solved(given)
        slack = max(0.0, *violation(given, velocity)[: given.n_soft], 0.0)
        cost = float(np.sum((velocity - given.wanted) ** 2)) + (_SLACK_COST * slack) ** 2
        assert cost == pytest.approx(least, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(velocity, reference, atol=2e-3 * (1 + np.sqrt(least) / _SLACK_COST))


@given(st.integers(0, 2**32 - 1))
def test_what_is_allowed_is_left_as_it_is(seed: int) -> None:
    given, allowed = instance(seed, common=True)
    np.testing.assert_array_equal(nearest_allowed(allowed, *given[1:]), allowed)


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_hard_bounds_hold_however_the_soft_ones_are(seed: int) -> None:
    given, _ = instance(seed)
    assert violation(given, nearest_allowed(*given))[given.n_soft :].max(initial=0.0) < 1e-6


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_what_all_bounds_allow_is_found_and_nothing_nearer_is_left_out(seed: int) -> None:
    given, allowed = instance(seed, common=True)
    velocity, far = nearest_allowed(*given), float(np.linalg.norm(allowed - given.wanted))
    assert violation(given, velocity).max() <= far / _SLACK_COST + 1e-9
    assert np.linalg.norm(velocity - given.wanted) <= far + 1e-9


def test_soft_bounds_without_anything_in_common_give_way_alike() -> None:
    facing = np.array([[1.0, 0.0], [-1.0, 0.0]])
    velocity = nearest_allowed(np.array([0.9, 0.3]), facing, np.array([1.0, 0.4]), n_soft=2)
    np.testing.assert_allclose(velocity, [0.3, 0.3], atol=1e-5)


def test_a_hard_bound_does_not_give_way_to_a_soft_one() -> None:
    facing = np.array([[1.0, 0.0], [-1.0, 0.0]])
    velocity = nearest_allowed(np.array([0.9, 0.3]), facing, np.array([1.0, 0.4]), n_soft=1)
    np.testing.assert_allclose(velocity, [-0.4, 0.3], atol=1e-5)


def test_where_even_hard_bounds_contradict_each_other_all_give_way_alike() -> None:
    """A fence too narrow for the braking that its walls ask for must not end in numbers that are none."""
    facing = np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    velocity = nearest_allowed(np.array([0.9, 0.3]), facing, np.array([-5.0, 1.0, 0.4]), n_soft=1)
    np.testing.assert_allclose(velocity, [0.3, 0.3], atol=1e-5)
