"""The world of a flight: drones are where their vehicles say, only stocks, demands and deliveries are made up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from nav_msgs.msg import Odometry

from sortie_core.layout import sample_layout
from sortie_nodes import qos
from sortie_nodes.conversions import centre_height_m, motion_of
from sortie_nodes.spinning import run
from sortie_nodes.world_node import WorldNode
from sortie_sim.mission_world import MissionWorld

if TYPE_CHECKING:
    from sortie_sim.motion import Array


class FlownMotion:
    """A `sortie_sim.motion.Motion` that is watched, not moved.

    Args:
        n_agents: N.
    """

    def __init__(self, n_agents: int) -> None:
        """Nobody has been seen: all at the origin."""
        self.position, self.velocity = np.zeros((n_agents, 3)), np.zeros((n_agents, 3))
        self.attitude = np.tile([0.0, 0.0, 0.0, 1.0], (n_agents, 1))

    def see(self, drone: int, message: Odometry) -> None:
        """Take in what a vehicle says; numbers that are none are left out."""
        position, velocity = motion_of(message)
        turn = message.pose.pose.orientation
        if np.isfinite(position).all() and np.isfinite(velocity).all():
            self.position[drone], self.velocity[drone] = position, velocity
            self.attitude[drone] = turn.x, turn.y, turn.z, turn.w

    def reset(self, position: Array) -> None:
        """Drones start where they are."""

    def step(self, velocity_command: Array, duration_s: float) -> None:
        """Time passes by itself, and setpoints go to the vehicles."""

    def stop_motors(self, index: int) -> None:
        """That is done by the safety gate."""

    def close(self) -> None:
        """Nothing to give back."""


class FlightWorldNode(WorldNode):
    """Tells drones what they perceive, tick by tick, and counts what they deliver."""

    CLOCK_READERS = 0  # the gate goes by the wall clock
    ODOMETRY_READERS = 2  # the drone's agent and the radio; the gate listens to the vehicle itself

    def __init__(self, **options: Any) -> None:
        """Make the topics.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__(**options)
        self._motion = FlownMotion(self.config.team.n_agents)

    def link_setpoints(self, drone: int) -> None:
        """Where the vehicles are is heard of them; setpoints are for them alone."""
        self.hear(
            Odometry, f"drone_{drone}/vehicle/odom", partial(self._on_vehicle, drone), qos.TICK_STATE, drone=drone
        )

    def _on_vehicle(self, drone: int, message: Odometry) -> None:
        self._motion.see(drone, message)

    def prepare(self) -> None:
        """The rules of delivery, over the motion that is flown."""
        self._loaded = MissionWorld(self.config, self._motion)

    def reset_world(self, seed: int) -> None:
        """The layout of a seed, but drones start where they are."""
        layout = sample_layout(self.config, [seed])
        space = self._motion.position - np.array([0.0, 0.0, centre_height_m(self.config)])
        position = space[None, :, : self.config.task.dimensions].astype(layout.position.dtype)
        self._world.restart(layout.replace(position=position))


def main() -> int:
    """Run the world of a flight."""
    return run(lambda: [FlightWorldNode()])
