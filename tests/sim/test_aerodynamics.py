"""Rotor drag, ground effect and downwash against their published forms, written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sortie_sim import aerodynamics
from sortie_sim.quadrotor import CRAZYFLIE2


def test_rotor_drag_is_the_published_form():
    """-coefficient * sum of rotor speeds in rad/s * velocity: 60000 rpm together are 2000 pi rad/s."""
    force = aerodynamics.rotor_drag(CRAZYFLIE2, np.array([[2.0, 0.0, -1.0]]), np.array([[60000.0]]))
    np.testing.assert_allclose(force, [[-2 * 9.1785e-7 * 2000 * np.pi, 0.0, 10.311e-7 * 2000 * np.pi]], rtol=1e-12)


def test_downwash_is_the_published_form_where_that_is_bounded():
    """k1 (r / 4d)^2 exp(-(s / (k2 d + k3))^2 / 2), summed over the drones above."""
    position = np.array([[0.0, 0.0, 1.0], [0.05, 0.0, 2.0], [0.0, -0.1, 3.0]])
    expected = np.zeros(3)
    for i in range(3):
        for j in range(3):
            d = position[j, 2] - position[i, 2]
            if d > 0:
                s = np.hypot(*(position[j, :2] - position[i, :2]))
                expected[i] += 2267.18 * (0.0231348 / 4 / d) ** 2 * np.exp(-0.5 * (s / (0.16 * d - 0.11)) ** 2)
    assert expected[0] > 0.05
    np.testing.assert_allclose(aerodynamics.downwash(CRAZYFLIE2, position), expected, rtol=1e-12)


def test_downwash_never_exceeds_the_thrust_above_it():
    for below in np.concatenate([[0.0, 1e-12, 1e-6], np.linspace(1e-3, 3.0, 500)]):
        lost = aerodynamics.downwash(CRAZYFLIE2, np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0 + below]]))
        assert 0.0 <= lost[0] <= 4 * CRAZYFLIE2.max_rotor_thrust_n * (1 + 1e-12)
        assert lost[1] == 0.0
        if below < 1e-5:
            assert lost[0] < 1e-4


def test_ground_effect_is_the_published_form():
    """T c (r / 4h)^2 per rotor, h no lower than the clip height; the lower rotor of a tilted drone gains more."""
    thrust = np.full((1, 4), 0.07)
    level = aerodynamics.ground_effect(CRAZYFLIE2, np.array([0.2]), np.array([[0.0, 0.0, 1.0]]), thrust)
    np.testing.assert_allclose(level, 0.07 * 11.36859 * (0.0231348 / 0.8) ** 2, rtol=1e-12)
    floor = aerodynamics.ground_effect(CRAZYFLIE2, np.array([0.0]), np.array([[0.0, 0.0, 1.0]]), thrust)
    np.testing.assert_allclose(floor, 0.07 * 4 / 15, rtol=1e-12)
    pitched = Rotation.from_euler("y", 0.3).as_matrix()[2][None]
    front_right, rear_right, rear_left, front_left = aerodynamics.ground_effect(
        CRAZYFLIE2, np.array([0.2]), pitched, thrust
    )[0]
    assert front_right == pytest.approx(front_left)
    assert rear_right == pytest.approx(rear_left)
    assert front_right > rear_right
    over = aerodynamics.ground_effect(CRAZYFLIE2, np.array([0.2]), np.array([[0.0, 0.0, -1.0]]), thrust)
    assert not over.any()
