"""Aerodynamic effects on a team of quadrotors: rotor drag, ground effect, downwash.

Axes: ``N`` drones. The forms are those that gym-pybullet-drones 2.1 flies (Panerati et al., arXiv:2103.02142), so that
the two simulators can be compared; where that form diverges, this project's own limit is described at the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_sim.quadrotor import Quadrotor

    Array = NDArray[np.float64]

RPM_TO_RADPS = 2 * np.pi / 60


def rotor_drag(quadrotor: Quadrotor, velocity: Array, rpm_sum: Array) -> Array:
    """Drag of the spinning rotors, proportional to velocity and to the sum of the rotor speeds (Foerster 2015).

    Foerster gives one coefficient per body axis; like gym-pybullet-drones it is taken along the world's axes here. The
    two coefficients differ by 12 %, and only the tilted part of the velocity sees that.

    Args:
        quadrotor: parameters.
        velocity: [N, 3] m/s, world frame.
        rpm_sum: [N, 1] sum of the four rotor speeds, rpm.

    Returns:
        [N, 3] force, N, world frame.
    """
    return velocity * rpm_sum * (-RPM_TO_RADPS * np.array(quadrotor.drag_kg_per_rad))


def ground_effect(quadrotor: Quadrotor, height: Array, up: Array, rotor_thrust: Array) -> Array:
    """Extra thrust of each rotor near the floor: T c (r / 4h)^2 (Shi et al. 2019), nothing when upside down.

    Args:
        quadrotor: parameters.
        height: [N] height of the centre of mass above the floor, m.
        up: [N, 3] the world's z axis in body axes.
        rotor_thrust: [N, 4] N.

    Returns:
        [N, 4] N, along body z.
    """
    rotor_height = height[:, None] + up[:, :2] @ np.array(quadrotor.rotor_xy_m).T
    reach = quadrotor.rotor_radius_m / 4 / np.maximum(rotor_height, quadrotor.min_ground_height_m)
    return rotor_thrust * (quadrotor.ground_effect * reach * reach * (up[:, 2:] > 0))


def downwash(quadrotor: Quadrotor, position: Array) -> Array:
    """Lift lost in the wakes of the drones above: k1 (r / 4d)^2 exp(-(s / (k2 d + k3))^2 / 2) for each of them.

    d is the distance below and s the horizontal distance. The form grows without bound as d goes to 0, so that drones
    at nearly one altitude would be thrown apart. This project's limit: a wake cannot take more lift than the rotors
    above put into it. Nearer than the distance at which the form reaches their largest thrust (0.36 m for the
    Crazyflie) the effect falls linearly to 0 at equal altitude; beyond it nothing is changed.

    Args:
        quadrotor: parameters.
        position: [N, 3] m.

    Returns:
        [N] lost lift, N, to be taken off along body z.
    """
    x, y, z = position.T
    below = z - z[:, None]
    core = quadrotor.downwash_core_m
    dx, dy = x - x[:, None], y - y[:, None]
    width = quadrotor.downwash_slope * below + quadrotor.downwash_offset_m
    # The wake is infinitely thin where the width crosses 0; the smallest width only keeps the quotient finite.
    profile = np.exp((dx * dx + dy * dy) / (-2 * np.maximum(width * width, 1e-8)))
    distance = np.maximum(below, core)
    amplitude = (quadrotor.downwash_n * (quadrotor.rotor_radius_m / 4) ** 2) / (distance * distance)
    amplitude *= np.clip(below, 0.0, core) / core
    return (amplitude * profile).sum(axis=1)
