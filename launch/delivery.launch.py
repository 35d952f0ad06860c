"""Fly one mission with `ros2 launch launch/delivery.launch.py`; the exit code tells whether it succeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_bringup.launching import describe

if TYPE_CHECKING:
    from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that they ask for."""
    return describe("configs/delivery.yaml", "comm.loss=0.3 team.n_agents=5")
