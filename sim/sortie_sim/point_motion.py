"""Drones as points: the point world's dynamics behind the protocol of the flight simulators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sortie_core.dynamics import follow_velocity

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_sim.motion import Array


class PointMotion:
    """N double integrators under velocity commands; see `sortie_core.dynamics` and `sortie_sim.motion.Motion`."""

    def __init__(self, config: Config, n_agents: int) -> None:
        """All drones at the origin, at rest."""
        self._world = config.world
        self._shape = (n_agents, 3)
        self._position = np.zeros(self._shape)
        self._velocity = np.zeros(self._shape)

    @property
    def position(self) -> Array:
        """[N, 3] m."""
        return self._position.copy()

    @property
    def velocity(self) -> Array:
        """[N, 3] m/s."""
        return self._velocity.copy()

    @property
    def attitude(self) -> Array:
        """[N, 4] quaternion xyzw: points are always level."""
        return np.tile([0.0, 0.0, 0.0, 1.0], (self._shape[0], 1))

    def reset(self, position: Array) -> None:
        """Start over at rest; `position` is [N, 3] m."""
        self._position = self._checked(position, "position")
        self._velocity = np.zeros(self._shape)

    def step(self, velocity_command: Array, duration_s: float) -> None:
        """Follow `velocity_command`, [N, 3] m/s, for `duration_s`."""
        command = self._checked(velocity_command, "velocity_command")
        moving = np.ones((1, self._shape[0]), dtype=bool)
        position, velocity = follow_velocity(
            self._position[None], self._velocity[None], command[None], moving, self._world, duration_s
        )
        self._position, self._velocity = position[0], velocity[0]

    def stop_motors(self, index: int) -> None:
        """Points have no motors, and stay where they are."""

    def close(self) -> None:
        """Nothing to give back."""

    def _checked(self, values: Array, name: str) -> Array:
        array = np.array(values, dtype=np.float64)
        if array.shape != self._shape or not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite and of shape {self._shape}, got shape {array.shape}")
        return array
