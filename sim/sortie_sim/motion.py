"""How a team of drones moves: one protocol, several simulators behind it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sortie_core.config import Config

    Array = NDArray[np.float64]

_BACKENDS = {
    "point": ("sortie_sim.point_motion", "PointMotion"),
    "pybullet": ("sortie_sim.pybullet_motion", "PyBulletMotion"),
    "gym-pybullet-drones": ("sortie_sim.gym_motion", "GymMotion"),
}


class Motion(Protocol):
    """N drones that follow velocity commands; world frame ENU, the floor at z = 0."""

    @property
    def position(self) -> Array:
        """[N, 3] m."""
        ...

    @property
    def velocity(self) -> Array:
        """[N, 3] m/s."""
        ...

    @property
    def attitude(self) -> Array:
        """[N, 4] quaternion xyzw, body to world."""
        ...

    def reset(self, position: Array) -> None:
        """Start over, at rest in the air.

        Args:
            position: [N, 3] m.

        Raises:
            ValueError: wrong shape or a non-finite number.
        """
        ...

    def step(self, velocity_command: Array, duration_s: float) -> None:
        """Fly.

        Args:
            velocity_command: [N, 3] m/s, world frame, held for the whole duration.
            duration_s: how long, s.

        Raises:
            ValueError: wrong shape or a non-finite number.
        """
        ...

    def stop_motors(self, index: int) -> None:
        """The motors of a drone stop until the next `reset`; where there are none, nothing happens."""
        ...

    def close(self) -> None:
        """Give the simulator back; further calls of `close` do nothing."""
        ...


def make_motion(config: Config, n_agents: int) -> Motion:
    """The motion that ``world.backend`` names; only that simulator is imported.

    Raises:
        UserError: the simulator is not installed, or cannot do what the configuration asks for.
    """
    module, name = _BACKENDS[config.world.backend]
    motion: Motion = getattr(import_module(module), name)(config, n_agents)
    return motion
