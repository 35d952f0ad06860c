"""Schedule a cluster with `ros2 launch launch/cluster.launch.py`; the exit code tells whether all tasks ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_bringup.launching import describe

if TYPE_CHECKING:
    from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that they ask for."""
    return describe("configs/cluster_live.yaml", "live.backend=simulated cluster.n_nodes=6")
