#!/bin/bash
# Runs the command with ROS and the workspace in its environment.
source /opt/ros/jazzy/setup.bash
exec /sortie/.venv/bin/python -m sortie_cli.environment "$@"
