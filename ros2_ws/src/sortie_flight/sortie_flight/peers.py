"""Simulated drones behind the wire formats of real ones, as a process of the graph."""

from __future__ import annotations

import sys

from rclpy.utilities import remove_ros_args

from sortie_peers import peer_process


def main() -> int:
    """Run `sortie_peers.peer_process`; what ROS adds to its command line is left out."""
    return peer_process.main(remove_ros_args(sys.argv)[1:])
