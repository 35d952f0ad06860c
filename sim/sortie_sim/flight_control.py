"""Flight control: velocity command to attitude to rotor speeds, for all drones at once.

Three loops, all of this project's design, after the usual cascade of quadrotor control (Lee, Leok, McClamroch, CDC
2010: force direction sets the attitude; Luis, Le Ny, arXiv:1608.05786: the Crazyflie's cascade):

1. Reference: a second-order filter of the command with limited acceleration,
   ``u = clip((v_c - v_r) / tau, a_max)``, ``a_r' = l (u - a_r) / tau_a``, ``v_r' = a_r``, ``p_r' = v_r``,
   where tau_a is the lag of the attitude loop and l the lead that makes up for part of it.
2. Force: ``a = a_r + l (u - a_r) + drag v_r + k_v (v_r - v) + k_p (p_r - p)``: behind the lag tau_a the first two
   terms are a_r, so that the drone can follow the reference. The integrated position p_r holds altitude without drift.
3. Attitude: the shortest turn that points the thrust along ``a + g``, yaw held at 0, by a discrete state feedback with
   a double pole at ``exp(-lambda T)`` for the double integrator "angular acceleration held over one period T".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_sim.quadrotor import Quadrotor

    Array = NDArray[np.float64]

# How fast the reference closes in on the command, s.
REFERENCE_TIME_S = 0.2
# Feedback per axis, 1/s and 1/s^2: stiffer in z, where thrust answers at once, than in x and y, which wait for tilt.
VELOCITY_GAIN_PER_S = np.array([5.0, 5.0, 8.0])
POSITION_GAIN_PER_S2 = np.array([4.0, 4.0, 16.0])
# Feedback acts on at most this position error; the reference waits for a drone held back by more than the leash. In z
# it waits longer: a drone that a collision or a wake has pushed down climbs back to its altitude.
MAX_POSITION_ERROR_M = 0.3
LEASH_M = np.array([0.3, 0.3, 2.0])
# Feedback may exceed the acceleration limit of the reference by this factor.
FEEDBACK_HEADROOM = 1.5
ATTITUDE_RATE_PER_S = np.array([36.0, 36.0, 10.0])
# In z thrust answers at once and needs no lead.
ATTITUDE_LEAD = 1.5
LEAD = np.array([ATTITUDE_LEAD, ATTITUDE_LEAD, 0.0])
# Beyond a tilt of 60 degrees no more thrust is spent on altitude.
MIN_LIFT_COSINE = 0.5
# Row-major rotation matrix as a linear map of the outer product of a quaternion xyzw with itself.
_ROTATION = np.zeros((9, 16))
for _entry, _terms in enumerate(
    (
        {0: 1, 5: -1, 10: -1, 15: 1},
        {1: 2, 11: -2},
        {2: 2, 7: 2},
        {1: 2, 11: 2},
        {0: -1, 5: 1, 10: -1, 15: 1},
        {6: 2, 3: -2},
        {2: 2, 7: -2},
        {6: 2, 3: 2},
        {0: -1, 5: -1, 10: 1, 15: 1},
    )
):
    for _term, _factor in _terms.items():
        _ROTATION[_entry, _term] = _factor


def rotation_matrix(attitude: Array) -> Array:
    """[N, 3, 3] body to world, for unit quaternions xyzw [N, 4]."""
    outer = (attitude[:, :, None] * attitude[:, None, :]).reshape(-1, 16)
    return (outer @ _ROTATION.T).reshape(-1, 3, 3)


class FlightControl:
    """The cascade for N drones of one kind; call `reset`, then `rpm` once per control period."""

    def __init__(
        self, quadrotor: Quadrotor, n_drones: int, control_hz: int, max_accel_mps2: float, *, drag: bool = True
    ) -> None:
        """Fix the gains.

        Args:
            quadrotor: parameters of the drones.
            n_drones: N.
            control_hz: calls of `rpm` per second of flight.
            max_accel_mps2: limit on the acceleration of the reference.
            drag: whether the world has rotor drag, which is then fed forward at hover rotor speed.
        """
        self._quadrotor = quadrotor
        self._period_s = 1.0 / control_hz
        self._max_accel_mps2 = max_accel_mps2
        pole = np.exp(-ATTITUDE_RATE_PER_S * self._period_s)
        self._angle_gain = ((1 - pole) / self._period_s) ** 2
        self._rate_gain = (2 - 2 * pole) / self._period_s - self._angle_gain * self._period_s / 2
        attitude_lag_s = 2 / ATTITUDE_RATE_PER_S[0] + self._period_s / 2
        self._approach = 1 - np.exp(-ATTITUDE_LEAD * self._period_s / attitude_lag_s)
        rotor_speed = 4 * quadrotor.hover_rpm * 2 * np.pi / 60
        rotor_drag = np.array(quadrotor.drag_kg_per_rad) * rotor_speed / quadrotor.mass_kg
        self._drag_per_s = quadrotor.damping_per_s + (rotor_drag if drag else np.zeros(3))
        self._inertia = np.array(quadrotor.inertia_kgm2)
        self._to_rotors = np.linalg.inv(quadrotor.allocation).T
        self.reset(np.zeros((n_drones, 3)))

    def reset(self, position: Array) -> None:
        """Start from hover at position [N, 3] m."""
        self._position = np.array(position, dtype=np.float64)
        self._velocity = np.zeros_like(self._position)
        self._accel = np.zeros_like(self._position)

    def restart(self, which: NDArray[np.bool_], position: Array, velocity: Array) -> None:
        """Start the reference of drones whose motors stand still, [N] bool, from where they are, [N, 3] m and m/s."""
        self._position[which], self._velocity[which], self._accel[which] = position[which], velocity[which], 0.0

    def rpm(self, command: Array, position: Array, attitude: Array, velocity: Array, angular_velocity: Array) -> Array:
        """Rotor speeds for the next control period; advances the reference by that period.

        Args:
            command: [N, 3] velocity command, m/s.
            position: [N, 3] m.
            attitude: [N, 4] quaternion xyzw.
            velocity: [N, 3] m/s.
            angular_velocity: [N, 3] rad/s, world frame.

        Returns:
            [N, 4] rpm.
        """
        accel = self._force(command, position, velocity)
        body_to_world = rotation_matrix(attitude)
        up = body_to_world[:, 2, 2]
        lift = accel[:, 2] + self._quadrotor.gravity_mps2
        thrust = self._quadrotor.mass_kg * lift / np.maximum(up, MIN_LIFT_COSINE) * (up > 0)
        accel[:, 2] = lift
        torque = self._torque(accel, attitude, np.einsum("nji,nj->ni", body_to_world, angular_velocity))
        return self._mix(thrust, torque)

    def _force(self, command: Array, position: Array, velocity: Array) -> Array:
        """[N, 3] acceleration to be flown, without gravity, m/s^2."""
        step = self._period_s
        pull = _limit((command - self._velocity) / REFERENCE_TIME_S, self._max_accel_mps2)
        error = np.clip(self._position - position, -LEASH_M, LEASH_M)
        accel = (
            self._accel
            + LEAD * (pull - self._accel)
            + self._drag_per_s * self._velocity
            + VELOCITY_GAIN_PER_S * (self._velocity - velocity)
            + POSITION_GAIN_PER_S2 * np.clip(error, -MAX_POSITION_ERROR_M, MAX_POSITION_ERROR_M)
        )
        self._position = position + error + step * self._velocity
        # A drone that was landed takes off as soon as it is told to.
        self._position[:, 2] = np.maximum(self._position[:, 2], 0.0)
        self._velocity = self._velocity + step * self._accel
        self._accel = self._accel + self._approach * (pull - self._accel)
        return _limit(accel, FEEDBACK_HEADROOM * self._max_accel_mps2)

    def _torque(self, lift: Array, attitude: Array, rate: Array) -> Array:
        """[N, 3] body torque that turns body z toward `lift` [N, 3], N m; `rate` [N, 3] rad/s in body axes."""
        length = np.sqrt((lift * lift).sum(axis=1))
        wanted = np.stack([-lift[:, 1], lift[:, 0], np.zeros_like(length), length + lift[:, 2]], axis=1)
        wanted /= np.sqrt((wanted * wanted).sum(axis=1, keepdims=True))
        turn = _turn(attitude, wanted)
        torque: Array = self._inertia * (self._angle_gain * turn - self._rate_gain * rate)
        return torque

    def _mix(self, thrust: Array, torque: Array) -> Array:
        """[N, 4] rpm; where rotors saturate, attitude goes before altitude."""
        most = self._quadrotor.max_rotor_thrust_n
        turning = torque @ self._to_rotors[1:]
        low, high = -turning.min(axis=1), most - turning.max(axis=1)
        collective = np.minimum(np.maximum(thrust / 4, low), np.maximum(high, low))
        rotor_thrust = np.clip(turning + collective[:, None], 0.0, most)
        rpm: Array = np.sqrt(rotor_thrust / self._quadrotor.thrust_n_per_rpm2)
        return rpm


def _limit(vector: Array, most: float) -> Array:
    """Shorten horizontal part and vertical part of [N, 3], each on its own, to at most `most`."""
    length = np.sqrt(vector[:, 0] ** 2 + vector[:, 1] ** 2)
    shrink = np.ones_like(vector)
    shrink[:, :2] = (most / np.maximum(length, most))[:, None]
    shrink[:, 2] = most / np.maximum(np.abs(vector[:, 2]), most)
    limited: Array = vector * shrink
    return limited


def _turn(attitude: Array, wanted: Array) -> Array:
    """[N, 3] shortest turn from one unit quaternion [N, 4] to another: 2 sin(angle / 2) times its axis in body axes."""
    x, y, z, w = attitude.T
    a, b, c, d = wanted.T
    about_x = w * a - x * d - y * c + z * b
    about_y = w * b + x * c - y * d - z * a
    about_z = w * c - x * b + y * a - z * d
    side = np.where(w * d + x * a + y * b + z * c < 0, -2.0, 2.0)
    shortest: Array = np.stack([about_x * side, about_y * side, about_z * side], axis=1)
    return shortest
