"""ROS 2 nodes of a delivery mission: agents, radio relay, world, mission manager."""
