"""The runner's eyes and voice in the graph."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from sortie_interfaces.msg import Fault, RadioStatistics, WorldStatus

from sortie_nodes import qos


class MissionObserver(Node):
    """Follows a mission, and tells the graph of processes that have ended.

    Attributes:
        status: of the team, None before the first tick.
        radio: what it has carried, None before the first tick is over.
        faults: all so far.
    """

    def __init__(self) -> None:
        """Make the topics."""
        super().__init__("runner", start_parameter_services=False)
        self.status: WorldStatus | None = None
        self.radio: RadioStatistics | None = None
        self.faults: list[Fault] = []
        self.create_subscription(WorldStatus, "team_status", lambda new: self._keep(status=new), qos.TEAM_STATUS)
        self.create_subscription(
            RadioStatistics, "radio_statistics", lambda new: self._keep(radio=new), qos.TEAM_STATUS
        )
        self.create_subscription(Fault, "faults", self.faults.append, qos.FAULTS)
        self._publisher = self.create_publisher(Fault, "faults", qos.FAULTS)

    def _keep(self, **news: Any) -> None:
        self.__dict__.update(news)

    def report_exit(self, drones: tuple[int, ...], how: str) -> None:
        """Tell the graph that a process has ended, and that the drones in it are lost."""
        for drone in drones:
            text = f"the process of drone {drone} ended with {how}"
            self._publisher.publish(Fault(kind=Fault.PROCESS_EXIT, drone=drone, lost=True, text=text))
