"""Drones that follow velocity commands."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made_missions import configuration

from sortie_core.dynamics import follow_velocity

WORLD = configuration("world.max_speed_mps=2.0", "world.max_accel_mps2=4.0", "world.velocity_time_constant_s=0.2").world
MOVING = np.ones((1, 1), dtype=bool)


def vector(*numbers: float):
    return np.array([[numbers]], dtype=np.float64)


def test_a_small_change_is_followed_with_the_time_constant():
    position, velocity = follow_velocity(vector(1, 0), vector(1, 0), vector(1.4, 0), MOVING, WORLD)
    np.testing.assert_allclose(velocity, vector(1.2, 0))
    np.testing.assert_allclose(position, vector(1.12, 0))


def test_acceleration_is_limited_by_norm_and_keeps_its_direction():
    _, velocity = follow_velocity(vector(0, 0, 0), vector(0, 0, 0), vector(1.2, 1.6, 0), MOVING, WORLD)
    np.testing.assert_allclose(velocity, vector(0.24, 0.32, 0))


def test_speed_is_limited_by_norm():
    velocity = vector(0, 0)
    for _ in range(50):
        _, velocity = follow_velocity(vector(0, 0), velocity, vector(30, 40), MOVING, WORLD)
    np.testing.assert_allclose(velocity, vector(1.2, 1.6), rtol=1e-6)


@pytest.mark.parametrize("dt_s", [0.01, 0.1, 0.2, 0.5, 5.0])
def test_no_step_overshoots_the_command(dt_s: float):
    velocity, speeds = vector(0, 0), []
    for _ in range(40):
        _, velocity = follow_velocity(vector(0, 0), velocity, vector(0.3, 0), MOVING, WORLD, dt_s)
        speeds.append(velocity[0, 0, 0])
    assert np.all(np.diff(speeds) >= -1e-12) and speeds[-1] <= 0.3 + 1e-12


def test_who_does_not_move_stands_still():
    position, velocity = follow_velocity(vector(1, 2), vector(1, 1), vector(2, 0), ~MOVING, WORLD)
    np.testing.assert_array_equal(position, vector(1, 2))
    np.testing.assert_array_equal(velocity, vector(0, 0))
