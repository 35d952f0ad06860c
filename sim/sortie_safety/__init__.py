"""The checks that every velocity command passes before a drone sees it; no ROS, no simulator."""
