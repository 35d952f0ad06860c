"""What `ros2 launch` brings up: the nodes of a configuration's graph, and the run's end with the outcome."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from sortie_bringup.fleet import NodeDescription, check, fleet
from sortie_bringup.processes import prefix
from sortie_cluster.live_config import load_graph_config
from sortie_core.shipped import find

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescriptionEntity
    from launch.events.process import ProcessExited


class RunFailed(Exception):
    """Makes `ros2 launch` end with exit code 1."""


def describe(config_file: str, example: str) -> LaunchDescription:
    """The arguments of a launch file, and the nodes that they ask for.

    Args:
        config_file: the shipped configuration, for where none is named.
        example: overrides, for the arguments' description.
    """
    arguments = [
        DeclareLaunchArgument(
            "config",
            default_value=config_file,
            description="YAML file of the whole configuration, yours or a shipped one.",
        ),
        DeclareLaunchArgument(
            "overrides",
            default_value="",
            description=f"Changes to it, separated by blanks: '{example}'.",
        ),
        DeclareLaunchArgument(
            "lockstep",
            default_value="false",
            choices=["true", "false"],
            description="Each tick waits for all commands or claims (exact replay), instead of real time.",
        ),
        DeclareLaunchArgument(
            "view",
            default_value="false",
            choices=["true", "false"],
            description="Show the run in the browser, to Foxglove and to RViz.",
        ),
        DeclareLaunchArgument(
            "only",
            default_value="",
            description="Start only this part, the rest being started elsewhere: world, or drones such as 0-3.",
        ),
        DeclareLaunchArgument(
            "out",
            default_value="",
            description="Folder for the outcome; nothing is written where empty.",
        ),
    ]
    quiet = SetEnvironmentVariable("OMP_NUM_THREADS", "1")
    return LaunchDescription([*arguments, quiet, OpaqueFunction(function=_bring_up)])


def _bring_up(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    config_file, overrides, only, out = (
        LaunchConfiguration(name).perform(context) for name in ("config", "overrides", "only", "out")
    )
    given = [name for name in ("lockstep", "view") if LaunchConfiguration(name).perform(context) == "true"]
    changes = [*shlex.split(overrides), *(f"ros.{name}=true" for name in given)]
    config = load_graph_config(config_file, changes)
    check(config, only)
    folder = Path(out).resolve() if out else None
    nodes = fleet(config, find(config_file).resolve(), changes, folder, only)
    return [action for node in nodes for action in _actions(node)]


def _actions(node: NodeDescription) -> list[LaunchDescriptionEntity]:
    process = Node(
        package=node.package,
        executable=node.executable,
        name=node.name,
        namespace=node.namespace,
        parameters=[dict(node.parameters)],
        arguments=list(node.arguments),
        ros_arguments=["--enclave", node.enclave],
        output="screen",
        prefix=shlex.join(prefix(node)),
        exec_name=node.label,
    )
    if not node.needed:
        return [process]  # the team goes on without an agent, and reports it, or without a recording
    return [process, RegisterEventHandler(OnProcessExit(target_action=process, on_exit=_end))]


def _end(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
    """No run goes on without the world or bridge, the radio, the safety gate where there is one, or the manager."""
    if context.is_shutdown:
        return None
    if event.returncode == 0:
        return [EmitEvent(event=Shutdown(reason=f"{event.process_name} has ended"))]
    raise RunFailed(f"{event.process_name} ended with exit code {event.returncode}")
