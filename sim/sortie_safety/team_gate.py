"""The gates of a whole team, as the node of the ROS graph has them, for missions that are flown without ROS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sortie_safety.safety_gate import Command, Intervention, Kinematics, SafetyGate
from sortie_safety.shield import Others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sortie_core.config import Config

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]


def others_near(
    drone: int,
    known: Sequence[Kinematics | None],
    flying: Flags,
    cooperative: Flags,
    axes: int,
    since_s: float = -np.inf,
) -> Others:
    """Who flies near a drone, where it was last known to be.

    Args:
        drone: which.
        known: [N], what is known of each; None for nothing.
        flying: [N], who is in the air.
        cooperative: [N], who avoids others.
        axes: task.dimensions.
        since_s: who was last seen before this is taken to stand still there, s.
    """
    near = [(k, each) for k, each in enumerate(known) if k != drone and flying[k] and each is not None and each.finite]
    shape = (len(near), axes)
    return Others(
        np.reshape([each.position[:axes] for _, each in near], shape),
        np.reshape([each.velocity[:axes] * (each.time_s >= since_s) for _, each in near], shape),
        cooperative[[k for k, _ in near]],
    )


class TeamGate:
    """A gate for each drone of a mission; remembers what it has let through.

    Args:
        config: of the mission.
    """

    def __init__(self, config: Config) -> None:
        self._axes = config.task.dimensions
        self._gates = [SafetyGate(config) for _ in range(config.team.n_agents)]
        self._setpoints = self._shielded = 0

    @property
    def shielded_share(self) -> float:
        """Share of setpoints so far that the separation shield has changed."""
        return self._shielded / max(self._setpoints, 1)

    def setpoints(self, time_s: float, command: Array, position: Array, velocity: Array, alive: Flags) -> Array:
        """What the drones may do.

        Args:
            time_s: mission time, s.
            command: [N, D] m/s, wanted by those that are alive.
            position: [N, 3] m.
            velocity: [N, 3] m/s.
            alive: [N], who takes part; the others are avoided, and not passed through a gate.

        Returns:
            [N, D] m/s.
        """
        known = [Kinematics(time_s, *each) for each in zip(position, velocity, strict=True)]
        everybody = np.ones(len(known), bool)
        allowed = np.zeros_like(command)
        for drone in map(int, np.flatnonzero(alive)):
            others = others_near(drone, known, everybody, alive, self._axes)
            wanted = np.zeros(3)
            wanted[: self._axes] = command[drone]
            setpoint, reasons = self._gates[drone].setpoint(time_s, Command(time_s, wanted), known[drone], others)
            allowed[drone] = setpoint[: self._axes]
            self._setpoints += 1
            self._shielded += Intervention.SEPARATION in reasons
        return allowed
