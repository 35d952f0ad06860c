"""Quadrotors in PyBullet: rigid bodies, collisions, and this project's own aerodynamics as one wrench per drone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_core.config import UserError
from sortie_sim.aerodynamics import downwash, ground_effect, rotor_drag
from sortie_sim.flight_control import rotation_matrix
from sortie_sim.quadrotor_motion import QuadrotorMotion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_core.config import Config

    Array = NDArray[np.float64]

MODEL = Path(__file__).parent / "assets" / "crazyflie2.urdf"


def load_pybullet() -> Any:
    """The pybullet module, imported without the banner that its C code writes to the terminal.

    Raises:
        UserError: it is not installed.
    """
    if "pybullet" not in sys.modules:
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
                import pybullet  # noqa: F401
        except ImportError:
            raise UserError("world.backend: pybullet is not installed; install it with: pip install pybullet") from None
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return sys.modules["pybullet"]


class PyBulletMotion(QuadrotorMotion):
    """N Crazyflies above a floor in a PyBullet world of their own.

    Thrust, ground effect, drag and downwash of a drone are summed to one force and one torque in body axes before they
    reach Bullet: two calls per drone and physics period.
    """

    def __init__(self, config: Config, n_agents: int) -> None:
        """Open a world.

        Raises:
            UserError: pybullet is not installed.
        """
        super().__init__(config, n_agents)
        self._bullet = load_pybullet()
        self._client: int | None = self._bullet.connect(self._bullet.DIRECT)
        self._bodies: list[int] = []
        self._place(np.stack([np.arange(n_agents), np.zeros(n_agents), np.ones(n_agents)], axis=1))
        self._set_rpm(np.full((n_agents, 4), self.quadrotor.hover_rpm))

    def close(self) -> None:
        """Close the world; further calls do nothing."""
        if self._client is not None:
            self._bullet.disconnect(self._client)
            self._client = None

    def _place(self, position: Array) -> None:
        bullet, client = self._bullet, self._client
        # A fresh world, not moved bodies: Bullet keeps contacts, and the next flight would differ in the last digits.
        bullet.resetSimulation(physicsClientId=client)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=1.0 / self.physics_hz, deterministicOverlappingPairs=1, physicsClientId=client
        )
        bullet.setGravity(0, 0, -self.quadrotor.gravity_mps2, physicsClientId=client)
        floor = bullet.createCollisionShape(bullet.GEOM_PLANE, physicsClientId=client)
        bullet.createMultiBody(baseMass=0, baseCollisionShapeIndex=floor, physicsClientId=client)
        # Nothing is drawn here, and meshes for drawing would be most of the time a reset takes.
        flags = bullet.URDF_USE_INERTIA_FROM_FILE | bullet.URDF_IGNORE_VISUAL_SHAPES
        self._bodies = [
            bullet.loadURDF(str(MODEL), place, flags=flags, physicsClientId=client) for place in position.tolist()
        ]
        damping = self.quadrotor.damping_per_s
        for body in self._bodies:
            bullet.changeDynamics(
                body,
                -1,
                linearDamping=damping,
                angularDamping=damping,
                activationState=bullet.ACTIVATION_STATE_DISABLE_SLEEPING,
                physicsClientId=client,
            )
        self._read()

    def _set_rpm(self, rpm: Array) -> None:
        self._rotor_thrust = self.quadrotor.thrust_n_per_rpm2 * rpm * rpm
        self._rpm_sum = rpm.sum(axis=1, keepdims=True)
        self._wrench = self._rotor_thrust @ self.quadrotor.allocation.T

    def _advance(self) -> None:
        force, torque = self._body_wrench()
        bullet, client, frame = self._bullet, self._client, self._bullet.LINK_FRAME
        centre = (0.0, 0.0, 0.0)
        for body, push, twist in zip(self._bodies, force.tolist(), torque.tolist(), strict=True):
            bullet.applyExternalForce(body, -1, push, centre, frame, client)
            bullet.applyExternalTorque(body, -1, twist, frame, client)
        bullet.stepSimulation(client)
        self._read()

    def _body_wrench(self) -> tuple[Array, Array]:
        """Force [N, 3] N and torque [N, 3] N m on every drone, body axes."""
        effects, quadrotor, state = self.effects, self.quadrotor, self._state
        wrench = self._wrench
        force = np.zeros((self.n_agents, 3))
        if effects.drag or effects.ground_effect:
            body_to_world = rotation_matrix(state[:, 3:7])
        if effects.ground_effect:
            extra = ground_effect(quadrotor, state[:, 2], body_to_world[:, 2], self._rotor_thrust)
            wrench = wrench + extra @ quadrotor.allocation.T
        if effects.drag:
            drag = rotor_drag(quadrotor, state[:, 7:10], self._rpm_sum)
            force = np.einsum("nji,nj->ni", body_to_world, drag)
        force[:, 2] += wrench[:, 0]
        if effects.downwash:
            force[:, 2] -= downwash(quadrotor, state[:, 0:3])
        return force, wrench[:, 1:]

    def _read(self) -> None:
        pose, twist, client = self._bullet.getBasePositionAndOrientation, self._bullet.getBaseVelocity, self._client
        rows = []
        for body in self._bodies:
            position, attitude = pose(body, client)
            velocity, angular_velocity = twist(body, client)
            rows.append(position + attitude + velocity + angular_velocity)
        self._state = np.array(rows)
