"""Both shields: what they promise to a pair, and that they leave everybody else alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wild_flights import configuration

from sortie_safety.half_spaces import nearest_allowed
from sortie_safety.safety_gate import braking_of
from sortie_safety.shield import _ORCA_HORIZON_S, Orca, Others, make_shield

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_safety.shield import Shield

    Array = NDArray[np.float64]

CONFIG = configuration(2)
FULL_MPS, SEPARATION_M = CONFIG.safety.max_speed_mps, CONFIG.safety.separation_m
PERIOD_S, LAG_S, ACCEL_MPS2 = 0.04, CONFIG.world.velocity_time_constant_s, CONFIG.world.max_accel_mps2

seeds = st.integers(0, 2**32 - 1)
both = pytest.mark.parametrize("name", ["barrier", "orca"])
in_plan_and_in_space = pytest.mark.parametrize("axes", [2, 3])


def shield(name: str, period_s: float = PERIOD_S) -> Shield:
    config = configuration(2, f"safety.shield={name}")
    return make_shield(config, braking_of(config, period_s), period_s)


def one(position: Array, velocity: Array, cooperative: bool = True) -> Others:
    return Others(np.array([position]), np.array([velocity]), np.array([cooperative]))


def direction(rng: np.random.Generator, axes: int) -> Array:
    way = rng.normal(size=axes)
    return way / np.linalg.norm(way)


def allowed(name: str, wanted: Array, position: Array, velocity: Array, others: Others) -> Array:
    rows = shield(name).half_spaces(position, velocity, others)
    return nearest_allowed(wanted, *rows, n_soft=len(rows[0]))


def encounter(name: str, seed: int, axes: int, *, cooperative: bool) -> float:
    """How near two drones come, m, that are drawn to each other and pushed about; the second one may not care."""
    rng, each = np.random.default_rng(seed), shield(name)
    position = np.stack([np.zeros(axes), rng.uniform(1.2, 5) * direction(rng, axes)])
    velocity, wanted, least_m = np.zeros((2, axes)), np.zeros((2, axes)), np.inf
    straight = rng.uniform(0.2, 0.5) * direction(rng, axes) - 0.5 * position[1] / np.linalg.norm(position[1])
    for tick in range(round(8.0 / PERIOD_S)):
        if tick % 20 == 0:
            pushed = (rng.random((2, 1)) < 0.4) * 3 * rng.normal(size=(2, axes))
            wanted = _shortened(9 * rng.random((2, 1)) * (position[::-1] - position) + pushed, FULL_MPS)
        told = wanted.copy()
        for k in range(2):
            rows = each.half_spaces(position[k], velocity[k], one(position[1 - k], velocity[1 - k], cooperative))
            told[k] = nearest_allowed(wanted[k], *rows, n_soft=1)
        told = _shortened(told, FULL_MPS)
        if not cooperative:
            told[1] = straight
        for _ in range(2):
            velocity = velocity + _shortened((told - velocity) / LAG_S, ACCEL_MPS2) * PERIOD_S / 2
            position = position + velocity * PERIOD_S / 2
            least_m = min(least_m, float(np.linalg.norm(position[0] - position[1])))
    return least_m


def _shortened(vector: Array, most: float) -> Array:
    return vector * np.minimum(1, most / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9))


@both
@pytest.mark.parametrize("cooperative", [True, False])
@settings(max_examples=20, deadline=None)
@given(seed=seeds, axes=st.sampled_from([2, 3]))
def test_two_stay_apart_that_brake_no_harder_than_drones_can_even_if_one_takes_no_part(
    name: str, cooperative: bool, seed: int, axes: int
) -> None:
    assert encounter(name, seed, axes, cooperative=cooperative) > SEPARATION_M - 0.03


@both
@in_plan_and_in_space
def test_who_is_far_away_never_interferes(name: str, axes: int) -> None:
    rng, reach_m = np.random.default_rng(axes), SEPARATION_M + 2 * FULL_MPS * _ORCA_HORIZON_S + 1
    for _ in range(200):
        way = direction(rng, axes)
        others = one(reach_m * way, -FULL_MPS * way, bool(rng.integers(2)))
        wanted = FULL_MPS * direction(rng, axes)
        np.testing.assert_array_equal(allowed(name, wanted, np.zeros(axes), wanted, others), wanted)


@both
@in_plan_and_in_space
def test_nobody_is_changed_who_flies_away_from_all_others(name: str, axes: int) -> None:
    rng = np.random.default_rng(axes)
    for _ in range(200):
        wanted = rng.uniform(0.1, FULL_MPS) * direction(rng, axes)
        where = np.array([direction(rng, axes) for _ in range(5)])
        where *= -np.sign(where @ wanted)[:, None] * rng.uniform(1.0, 3.0, size=(5, 1))
        others = Others(where, np.zeros((5, axes)), rng.random(5) < 0.5)
        np.testing.assert_array_equal(allowed(name, wanted, np.zeros(axes), wanted, others), wanted)


@both
@in_plan_and_in_space
@given(seed=seeds)
def test_turning_the_world_turns_what_is_allowed(name: str, axes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(axes, axes)))
    position, velocity, (where, speed) = rng.normal(size=axes), rng.normal(size=axes), 2 * rng.normal(size=(2, 4, axes))
    care = rng.random(4) < 0.5
    normal, bound = shield(name).half_spaces(position, velocity, Others(where, speed, care))
    turned = shield(name).half_spaces(turn @ position, turn @ velocity, Others(where @ turn.T, speed @ turn.T, care))
    np.testing.assert_allclose(turned[0], normal @ turn.T, atol=1e-7)
    np.testing.assert_allclose(turned[1], bound, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1.0)


@both
@in_plan_and_in_space
@given(seed=seeds)
def test_two_see_each_other_alike(name: str, axes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    position, velocity = 2 * rng.normal(size=(2, axes)), rng.normal(size=(2, axes))
    rows = [shield(name).half_spaces(position[k], velocity[k], one(position[1 - k], velocity[1 - k])) for k in range(2)]
    np.testing.assert_allclose(rows[0][0], -rows[1][0], atol=1e-9)


@both
def test_who_takes_no_part_leaves_less_room(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        where, speed, velocity = rng.uniform(0.6, 2) * direction(rng, 2), -rng.normal(size=2), rng.normal(size=2)
        _, shared = shield(name).half_spaces(np.zeros(2), velocity, one(where, speed))
        normal, alone = shield(name).half_spaces(np.zeros(2), velocity, one(where, speed, False))
        if shared[0] > normal[0] @ velocity:  # there is something to do
            assert alone[0] >= shared[0] - 1e-9


@both
def test_two_in_one_place_part(name: str) -> None:
    normal, bound = shield(name).half_spaces(np.ones(2), np.zeros(2), one(np.ones(2), np.zeros(2)))
    assert np.isfinite(normal).all() and np.isfinite(bound).all()


@in_plan_and_in_space
def test_orca_allows_nothing_that_meets_the_other_within_its_horizon_and_forbids_no_more(axes: int) -> None:
    """Against the distance along the way itself: of relative velocities, and of all smaller changes."""
    rng, orca = np.random.default_rng(axes), Orca(SEPARATION_M, PERIOD_S)
    time_s = np.linspace(0, _ORCA_HORIZON_S, 601)

    def least_m(where: Array, relative: Array) -> float:
        return float(np.linalg.norm(where - time_s[:, None] * relative, axis=1).min())

    n_met = 0
    for _ in range(200):
        where = rng.uniform(0.6, 4) * direction(rng, axes)
        other = rng.normal(size=axes)
        velocity = other + rng.uniform(0.2, 1.5) * where + 0.4 * rng.normal(size=axes)
        (normal,), (bound,) = orca.half_spaces(np.zeros(axes), velocity, one(where, other, False))
        change = bound - normal @ velocity
        across = rng.normal(size=(20, axes))
        across -= np.outer(across @ normal, normal)
        for aside in across:
            assert least_m(where, velocity + change * normal + aside - other) > SEPARATION_M - 2e-3
        if change > 0.01:
            n_met += 1
            for _ in range(20):
                smaller = velocity + 0.99 * change * direction(rng, axes)
                assert least_m(where, smaller - other) < SEPARATION_M + 1e-3
    assert n_met > 20


@in_plan_and_in_space
def test_orca_parts_those_that_are_too_near_within_a_period(axes: int) -> None:
    rng, orca = np.random.default_rng(axes), Orca(SEPARATION_M, PERIOD_S)
    for _ in range(100):
        where, other = rng.uniform(0.05, SEPARATION_M) * direction(rng, axes), rng.normal(size=axes)
        (normal,), (bound,) = orca.half_spaces(np.zeros(axes), np.zeros(axes), one(where, other, False))
        assert np.linalg.norm(where + PERIOD_S * (other - bound * normal)) > SEPARATION_M - 1e-9
