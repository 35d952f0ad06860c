"""Parameters of the quadrotor that is flown: the Crazyflie 2 as published.

Sources:
    [bitcraze] Crazyflie 2.0 data sheet: 27 g.
    [luis] C. Luis, J. Le Ny, "Design of a Trajectory Tracking Controller for a Nanoquadcopter", arXiv:1608.05786, 2016:
        thrust 3.1582e-10 N/rpm^2, drag torque 7.9379e-12 N m/rpm^2, arm 39.73 mm, inertia (1.395, 1.436, 2.173)e-5.
    [forster] J. Foerster, "System Identification of the Crazyflie 2.0 Nano Quadrocopter", ETH Zurich, 2015: rotor drag.
    [shi] G. Shi et al., "Neural Lander", ICRA 2019, arXiv:1811.08027: the form of the ground effect.
    [panerati] J. Panerati et al., "Learning to Fly - a Gym Environment with PyBullet Physics for Reinforcement Learning
        of Multi-agent Quadcopter Control", IROS 2021, arXiv:2103.02142, and its gym-pybullet-drones 2.1 (model CF2X):
        the rounded values used here, thrust-to-weight ratio, ground-effect and downwash coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Quadrotor:
    """A quadrotor in X configuration; body axes x forward, y left, z up; rotors counted from the front right clockwise.

    Attributes:
        mass_kg: with battery.
        inertia_kgm2: diagonal of the inertia tensor, kg m^2.
        rotor_xy_m: places of the four rotors in the body's plane, m.
        spin: sign of each rotor's reaction torque about body z.
        thrust_n_per_rpm2: k_F of one rotor.
        torque_nm_per_rpm2: k_M of one rotor.
        thrust_to_weight: largest collective thrust / weight.
        rotor_radius_m: radius of one rotor.
        drag_kg_per_rad: rotor drag per axis: force = -coefficient * sum of rotor speeds (rad/s) * velocity.
        ground_effect: coefficient of the ground effect, without unit.
        downwash_n: amplitude k_1 of the downwash, N.
        downwash_slope: growth k_2 of the wake's width with the distance below, m/m.
        downwash_offset_m: k_3, added to the width, m.
        damping_per_s: linear and angular damping of the free body, 1/s; the value that Bullet gives every body and that
            gym-pybullet-drones therefore flies with.
        gravity_mps2: gravity.
    """

    mass_kg: float
    inertia_kgm2: tuple[float, float, float]
    rotor_xy_m: tuple[tuple[float, float], ...]
    spin: tuple[float, ...]
    thrust_n_per_rpm2: float
    torque_nm_per_rpm2: float
    thrust_to_weight: float
    rotor_radius_m: float
    drag_kg_per_rad: tuple[float, float, float]
    ground_effect: float
    downwash_n: float
    downwash_slope: float
    downwash_offset_m: float
    damping_per_s: float
    gravity_mps2: float

    @property
    def weight_n(self) -> float:
        """Weight, N."""
        return self.mass_kg * self.gravity_mps2

    @property
    def max_rotor_thrust_n(self) -> float:
        """Largest thrust of one rotor, N."""
        return self.thrust_to_weight * self.weight_n / 4

    @property
    def hover_rpm(self) -> float:
        """Rotor speed that carries the weight."""
        return float(np.sqrt(self.weight_n / (4 * self.thrust_n_per_rpm2)))

    @property
    def max_rpm(self) -> float:
        """Largest rotor speed."""
        return float(np.sqrt(self.max_rotor_thrust_n / self.thrust_n_per_rpm2))

    @property
    def min_ground_height_m(self) -> float:
        """Below this rotor height the ground effect stops growing, m.

        It is the height at which the effect adds 4/15 of the thrust, the limit gym-pybullet-drones 2.1 sets.
        """
        return self.rotor_radius_m / 4 * float(np.sqrt(15 * self.ground_effect / 4))

    @property
    def downwash_core_m(self) -> float:
        """Distance below a drone at which the downwash model reaches that drone's largest thrust, m."""
        return self.rotor_radius_m / 4 * float(np.sqrt(self.downwash_n / (4 * self.max_rotor_thrust_n)))

    @cached_property
    def allocation(self) -> NDArray[np.float64]:
        """[4, 4]: rotor thrusts (N) to collective thrust (N) and body torques x, y, z (N m)."""
        x, y = np.array(self.rotor_xy_m).T
        yaw = np.array(self.spin) * self.torque_nm_per_rpm2 / self.thrust_n_per_rpm2
        return np.stack([np.ones(4), y, -x, yaw])


CRAZYFLIE2 = Quadrotor(
    mass_kg=0.027,
    inertia_kgm2=(1.4e-5, 1.4e-5, 2.17e-5),
    rotor_xy_m=((0.028, -0.028), (-0.028, -0.028), (-0.028, 0.028), (0.028, 0.028)),
    spin=(-1.0, 1.0, -1.0, 1.0),
    thrust_n_per_rpm2=3.16e-10,
    torque_nm_per_rpm2=7.94e-12,
    thrust_to_weight=2.25,
    rotor_radius_m=2.31348e-2,
    drag_kg_per_rad=(9.1785e-7, 9.1785e-7, 10.311e-7),
    ground_effect=11.36859,
    downwash_n=2267.18,
    downwash_slope=0.16,
    downwash_offset_m=-0.11,
    damping_per_s=0.04,
    gravity_mps2=9.8,
)
