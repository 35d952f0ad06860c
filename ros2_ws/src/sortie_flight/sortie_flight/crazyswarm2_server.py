"""What a Crazyswarm2 server can do for one of its drones, found by looking at the ROS graph and at its parameters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import NodeNameNonExistentError
from rclpy.parameter import parameter_value_to_python

from sortie_flight.crazyswarm2_hearing import HEARS_TRANSFORMS
from sortie_flight.vehicle import Capabilities, Repeat

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node
    from rclpy.task import Future

SERVER = "crazyflie_server"
READY = "/all/emergency"
"""The service that the server makes last."""
PID = 1
"""The value of the firmware's parameter stabilizer.controller at which a Crazyflie follows velocities."""
_LOOK_S, _ASK_S = 0.5, 2.0
_FIRMWARE = ("stabilizer.controller", "colAv.enable")


class Crazyswarm2Server:
    """Watches the node `SERVER`.

    Everything is counted by that node, not by topic or service: the safety gate offers `READY` too, and a recorder
    subscribes to every topic there is.

    Args:
        node: whose graph is looked at; its executor delivers the answers.
        name: of the Crazyflie.

    Attributes:
        ready: the server has made all there is; stays so.
        poses: there is a topic with poses; else they are told as TF only.
        capabilities: of server and drone together.
    """

    def __init__(self, node: Node, name: str) -> None:
        """Nothing is known yet."""
        self.ready = False
        self.poses = True
        self.capabilities = Capabilities(arm=False, status=False, velocity=False)
        self._node, self._name = node, name
        self._look, self._ask = Repeat(_LOOK_S), Repeat(_ASK_S)
        self._client = node.create_client(GetParameters, f"/{SERVER}/get_parameters")
        self._values: dict[str, Any] = {}

    def look(self) -> None:
        """Look again where it is time to; what is not to be seen any more is taken to be there still."""
        if not self._look.due("graph"):
            return
        node = self._node
        try:
            services = _names(node.get_service_names_and_types_by_node)
            heard = _names(node.get_subscriber_names_and_types_by_node)
            told = _names(node.get_publisher_names_and_types_by_node)
        except NodeNameNonExistentError:
            return
        if READY not in services:
            return
        self.ready = True
        self._ask_parameters()
        topics = {f"/{self._name}/{topic}" for topic in ("pose", "odom")}
        self.poses = bool(told & topics)
        self._conclude(services, heard, told)

    def close(self) -> None:
        """Ask nothing more."""
        self._node.destroy_client(self._client)

    def _ask_parameters(self) -> None:
        """Ask for what is still unknown, one name to a request: a name that the server lacks empties a whole answer."""
        if not self._client.service_is_ready():
            return
        for name in self._wanted():
            if name not in self._values and self._ask.due(name):
                future = self._client.call_async(GetParameters.Request(names=[name]))
                future.add_done_callback(partial(self._answered, name))

    def _wanted(self) -> list[str]:
        """Parameters that tell the firmware's, in all the places where the server may have them from."""
        kind = f"robots.{self._name}.type"
        if kind not in self._values:
            return [kind]
        places = [f"{self._name}.params", "all.params", f"robots.{self._name}.firmware_params", "all.firmware_params"]
        if self._values[kind]:
            places.append(f"robot_types.{self._values[kind]}.firmware_params")
        return [f"{place}.{parameter}" for place in places for parameter in _FIRMWARE]

    def _answered(self, name: str, future: Future) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        values = future.result().values
        self._values[name] = parameter_value_to_python(values[0]) if values else None

    def _firmware(self, parameter: str, place: str = "") -> set[Any]:
        """Every value of a parameter of the firmware that some place tells, or those that are named like `place`."""
        told = {value for name, value in self._values.items() if name.endswith(parameter) and place in name}
        return told - {None}

    def _conclude(self, services: set[str], heard: set[str], told: set[str]) -> None:
        own = f"/{self._name}"
        arm, status, takes = f"{own}/arm" in services, f"{own}/status" in told, f"{own}/cmd_velocity_world" in heard
        # A Mellinger controller takes a velocity for a place at the height 0, so all places have to say PID, that of
        # the YAML file among them: the C++ server tells what the drone had before it was set as that file has it.
        controllers = self._firmware("stabilizer.controller")
        pid = controllers == {PID} == self._firmware("stabilizer.controller", ".firmware_params.")
        remarks = []
        if not arm:
            remarks.append("no service arm, as in Crazyswarm2's simulation: take-off arms, and emergency does nothing")
        if not status:
            remarks.append("no topic status: neither battery nor lock is told; set default_topics.status in its YAML")
        if not self.poses:
            lacking = ", and Python lacks tf2_msgs; use a ROS installation" if not HEARS_TRANSFORMS else ""
            remarks.append(f"neither {own}/pose nor {own}/odom: where it is, is told as TF only{lacking}")
        if takes and not pid:
            known = "is not PID" if controllers - {PID} else "cannot be read"
            remarks.append(f"stabilizer.controller {known}; Mellinger follows no velocities, so positions are streamed")
        if any(self._firmware("colAv.enable")) and not pid:
            remarks.append(
                "colAv.enable is set, but avoids nothing under the Mellinger controller (crazyflie-firmware issue 628)"
            )
        # A server without arm is the simulation's, whose emergency service only says that it is not implemented.
        emergency = arm and f"{own}/emergency" in services
        self.capabilities = Capabilities(arm, status, takes and pid, emergency, tuple(remarks))


def _names(query: Callable[[str, str], list[tuple[str, list[str]]]]) -> set[str]:
    return {name for name, _ in query(SERVER, "/")}
