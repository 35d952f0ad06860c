"""ROS 2 nodes of a delivery mission: agents, radio relay, world, mission manager."""

RECORDER = "recorder"
"""Name of the node that hears every topic, whether or not anybody looks."""
