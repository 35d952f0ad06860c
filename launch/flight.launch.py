"""Fly real drones with `ros2 launch launch/flight.launch.py`; the exit code tells whether the mission succeeded.

Drones are armed by `ros2 service call /safety_gate/arm std_srvs/srv/Trigger`, once the topic `checklist` is green.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_bringup.launching import describe

if TYPE_CHECKING:
    from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that they ask for."""
    return describe("configs/flight/mavlink.yaml", "flight.peers=true team.n_agents=4")
