"""The runner's side of the action `mission`."""

from __future__ import annotations

import json
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node

from sortie_interfaces.action import Mission
from sortie_interfaces.msg import Fault
from sortie_nodes import qos


class MissionClient(Node):
    """Asks for one mission and follows it; all by polling, so that the caller can look after its processes too.

    Attributes:
        feedback: the newest, None before the mission has begun.
        summary: of the mission, None until it is over; its only key is `error` where it could not be flown.
        success: what the mission's manager made of it.
    """

    def __init__(self, seed: int) -> None:
        """Make the client; `poll` does the rest."""
        super().__init__("runner", start_parameter_services=False)
        self.feedback: Mission.Feedback | None = None
        self.summary: dict[str, Any] | None = None
        self.success = False
        self._seed = seed
        self._client = ActionClient(self, Mission, "mission")
        self._faults = self.create_publisher(Fault, "faults", qos.FAULTS)
        self._asked = False

    def poll(self) -> None:
        """Send the goal as soon as there is somebody to take it."""
        if not self._asked and self._client.server_is_ready():
            self._asked = True
            goal = Mission.Goal(seed=self._seed)
            self._client.send_goal_async(goal, self._on_feedback).add_done_callback(self._on_answer)

    def report_exit(self, drones: tuple[int, ...], exit_code: int) -> None:
        """Tell the graph that a process is gone, and the drones in it with it."""
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        for drone in drones:
            text = f"the process of drone {drone} ended with {how}"
            self._faults.publish(Fault(kind="process_exit", drone=drone, lost=True, text=text))

    def _on_feedback(self, message: Any) -> None:
        self.feedback = message.feedback

    def _on_answer(self, answer: Any) -> None:
        if not answer.result().accepted:
            self.summary = {"error": "the mission's manager refused the mission"}
            return
        answer.result().get_result_async().add_done_callback(self._on_result)

    def _on_result(self, answer: Any) -> None:
        result = answer.result().result
        self.success, self.summary = result.success, json.loads(result.summary)
