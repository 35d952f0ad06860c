"""The fence: what is inside, how far its walls are, and which velocities keep to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wild_flights import CONFIG_FILE, configuration

from sortie_core.config import UserError, load_config
from sortie_safety.fence import _BUFFER_M, _STRAIGHT, Fence
from sortie_safety.half_spaces import nearest_allowed
from sortie_safety.safety_gate import braking_of

CONFIG = configuration(2)
BRAKING = braking_of(CONFIG, 0.1)
SLOWED = replace(BRAKING, accel_mps2=_STRAIGHT * BRAKING.accel_mps2)
LOW_M, HIGH_M = 0.2, 3.0
COMB = [[-4, -3], [4, -3], [4, 3], [3, 3], [3, -2], [1, -2], [1, 3], [-1, 3], [-1, -2], [-3, -2], [-3, 3], [-4, 3]]


def star(rng: np.random.Generator) -> np.ndarray:
    """A simple polygon, as a rule a concave one, in either sense of rotation."""
    n = int(rng.integers(3, 12))
    angle = 2 * np.pi * (np.arange(n) + rng.uniform(0, 0.9, size=n)) / n
    corner = rng.uniform(0.5, 6, size=(n, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return rng.normal(size=2) + (corner if rng.random() < 0.5 else corner[::-1])


def fence(corner: object) -> Fence:
    return Fence(corner, LOW_M, HIGH_M, BRAKING)


def winding(corner: np.ndarray, place: np.ndarray) -> int:
    """How often the polygon goes round a place, by the angles under which its walls are seen."""
    seen = corner - place
    other = np.roll(seen, -1, axis=0)
    turn = np.arctan2(seen[:, 0] * other[:, 1] - seen[:, 1] * other[:, 0], (seen * other).sum(axis=1))
    return round(float(turn.sum()) / (2 * np.pi))


@pytest.mark.parametrize("seed", range(40))
def test_distances_are_those_to_points_along_the_walls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = star(rng) if seed else np.array(COMB, float)
    share = np.linspace(0, 1, 2001)[:, None, None]
    wall = (corner + share * (np.roll(corner, -1, axis=0) - corner)).reshape(-1, 2)
    for place in rng.uniform(-7, 7, size=(40, 2)):
        nearest_m = np.linalg.norm(wall - place, axis=1).min() * (1 if winding(corner, place) else -1)
        height_m = rng.uniform(LOW_M - 1, HIGH_M + 1)
        expected_m = min(nearest_m, height_m - LOW_M, HIGH_M - height_m)
        assert fence(corner).distance_m(np.append(place, height_m)) == pytest.approx(expected_m, abs=1e-3)


@given(st.integers(0, 2**32 - 1))
def test_in_which_sense_the_corners_are_given_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner, position, velocity, wanted = (
        star(rng),
        rng.uniform(-5, 5, size=3),
        rng.normal(size=3),
        3 * rng.normal(size=3),
    )
    both = fence(corner), fence(corner[::-1])
    assert both[0].distance_m(position) == pytest.approx(both[1].distance_m(position), abs=1e-9)
    kept = [nearest_allowed(wanted, *each.half_spaces(position, velocity), n_soft=0) for each in both]
    np.testing.assert_allclose(kept[0], kept[1], atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_on_a_wall_the_way_leads_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = star(rng)
    walls, share = fence(corner), rng.uniform(0.1, 0.9)
    position = np.append(corner[0] + share * (corner[1] - corner[0]), 1.0)
    rows = walls.half_spaces(position, np.zeros(3))
    assert walls.distance_m(position + 1e-3 * nearest_allowed(np.zeros(3), *rows, n_soft=0)) > 0
    for row in walls.half_spaces(np.append(corner[0], 1.0), np.zeros(3)):
        assert np.isfinite(row).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_allowed_speed_can_be_braked_away_before_the_wall(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = star(rng)
    place = rng.uniform(-6, 6, size=2)
    position = np.append(place, 1.5)
    walls = fence(corner)
    inside_m = walls.distance_m(position)
    if inside_m < _BUFFER_M:
        return
    normal, bound = walls.half_spaces(position, np.zeros(3))
    stopping_m = SLOWED.stopping_m(-bound)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1.0)
    np.testing.assert_allclose(stopping_m[-2:], [1.5 - LOW_M - _BUFFER_M, HIGH_M - 1.5 - _BUFFER_M])
    assert stopping_m.min() == pytest.approx(inside_m - _BUFFER_M)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(2266949)
def test_who_is_outside_is_brought_back(seed: int) -> None:
    """Into a spike that is narrower than the way of a period, only to its side and over it."""
    rng = np.random.default_rng(seed)
    walls, position = fence(star(rng)), np.append(rng.uniform(-9, 9, size=2), rng.uniform(LOW_M, HIGH_M))
    for _ in range(500):
        if walls.distance_m(position) >= 0:
            return
        rows = walls.half_spaces(position, np.zeros(3))
        position = position + 0.1 * nearest_allowed(np.zeros(3), *rows, n_soft=0)
    assert walls.distance_m(position) > -_BUFFER_M


def test_the_floor_and_the_ceiling_bring_back_too() -> None:
    for height_m, sense in ((0.0, 1), (4.0, -1)):
        rows = fence(COMB).half_spaces(np.array([0.0, -2.5, height_m]), np.zeros(3))
        assert sense * nearest_allowed(np.zeros(3), *rows, n_soft=0)[2] > 0.1


def test_without_corners_the_fence_is_the_arena_with_its_margin() -> None:
    walls = Fence.of(CONFIG, BRAKING)
    assert walls.distance_m(np.array([0.0, 0.0, 1.5])) == pytest.approx(1.3)
    assert walls.distance_m(np.array([5.5, 0.0, 1.5])) == pytest.approx(0.5)
    assert walls.distance_m(np.array([0.0, -6.5, 1.5])) == pytest.approx(-0.5)


def test_walls_on_one_line_do_not_cross() -> None:
    u = [[0, 0], [3, 0], [3, 2], [2, 2], [2, 1], [1, 1], [1, 2], [0, 2]]
    assert load_config(CONFIG_FILE, [f"safety.geofence={u}"]).safety.geofence == u


@pytest.mark.parametrize(
    ("corners", "part"),
    [
        ("[[0,0],[1,0]]", "at least three corners"),
        ("[[0,0],[1,0],[1,0],[0,1]]", "same corner twice"),
        ("[[0,0],[1,0],[1,1],[0,0]]", "same corner twice"),
        ("[[0,0],[2,2],[2,0],[0,2]]", "crosses"),
        ("[[0,0],[4,0],[2,0],[2,3]]", "crosses"),
        ("[[0,0],[4,0],[4,4],[2,0],[0,4]]", "crosses"),
        ("[[0,0],[1,0],[.nan,1]]", "nan"),
        ("[[0,0],[1,0,3],[1,1]]", "geofence"),
    ],
)
def test_what_is_no_simple_polygon_is_refused_in_one_line(corners: str, part: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(CONFIG_FILE, [f"safety.geofence={corners}"])
    assert "safety.geofence" in str(error.value) and part in str(error.value) and "\n" not in str(error.value)
