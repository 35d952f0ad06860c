"""The one way from ROS parameters to a configuration.

Every node takes the same two parameters, the YAML file and the overrides, and hence reads the same configuration as the
simulation and the training do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rclpy.parameter import Parameter

from sortie_cluster.live_config import load_graph_config
from sortie_core.config import Config, UserError

if TYPE_CHECKING:
    from rclpy.node import Node

_TYPES = {
    str: (ParameterType.PARAMETER_STRING, Parameter.Type.STRING),
    bool: (ParameterType.PARAMETER_BOOL, Parameter.Type.BOOL),
    int: (ParameterType.PARAMETER_INTEGER, Parameter.Type.INTEGER),
    list: (ParameterType.PARAMETER_STRING_ARRAY, Parameter.Type.STRING_ARRAY),
}


def declare(node: Node, name: str, default: str | bool | int | list[str], description: str) -> Any:
    """Declare a read-only parameter of the default's type and return its value."""
    parameter_type, kind = _TYPES[type(default)]
    descriptor = ParameterDescriptor(name=name, type=parameter_type, description=description, read_only=True)
    # An empty list would be taken for a byte array, hence a Parameter that names its type.
    return node.declare_parameter(name, Parameter(name, kind, default).value or default, descriptor).value


def declare_config(node: Node) -> Config:
    """Declare `config_file` and `overrides` and load what they name.

    Raises:
        UserError: as `sortie_cluster.live_config.load_graph_config`, or no file is named.
    """
    path = declare(node, "config_file", "", "YAML file of the whole configuration, see configs/")
    overrides = declare(node, "overrides", [""], "changes to it, each as section.key=value")
    if not path:
        raise UserError(f"{node.get_fully_qualified_name()}: set the parameter config_file to a YAML file")
    return load_graph_config(path, [item for item in overrides if item])


def declare_index(node: Node, config: Config) -> int:
    """Declare `index`, the number of the drone that a node belongs to.

    Raises:
        UserError: the team has no such drone.
    """
    index = declare(node, "index", -1, "number of the drone, from 0 to team.n_agents - 1")
    if not 0 <= index < config.team.n_agents:
        raise UserError(
            f"{node.get_fully_qualified_name()}: parameter index is {index}; set it to 0 .. {config.team.n_agents - 1}"
        )
    return index
