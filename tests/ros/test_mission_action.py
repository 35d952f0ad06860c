"""The action `mission`: one graph flies several missions, for whoever asks."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from sortie_interfaces.action import Mission

from sortie_bringup.fleet import MANAGER, fleet
from sortie_bringup.processes import command_line
from sortie_core.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Graph

pytestmark = pytest.mark.ros

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"


class Client:
    """Asks for missions and waits for their outcome."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        node = rclpy.create_node("client")
        self._action = ActionClient(node, Mission, "mission")
        graph.add(node)
        self.feedback: list[Mission.Feedback] = []

    def ask(self, **goal: Any) -> Any:
        """The handle of a goal, accepted or not."""
        self._graph.until(self._action.server_is_ready, 20, "the action's server")
        self._graph.spin(1.0)  # the server needs to find this client as well
        self.feedback.clear()
        answer = self._action.send_goal_async(Mission.Goal(**goal), lambda new: self.feedback.append(new.feedback))
        self._graph.until(answer.done, 10, "an answer to the goal")
        return answer.result()

    def outcome(self, handle: Any, *, cancel_after: int | None = None) -> tuple[int, Mission.Result]:
        """Status and result; cancels the mission after so many messages of feedback."""
        result = handle.get_result_async()
        if cancel_after is not None:
            self._graph.until(lambda: len(self.feedback) > cancel_after, 40, "feedback")
            handle.cancel_goal_async()
        self._graph.until(result.done, 60, "the mission's result")
        return result.result().status, result.result().result


@pytest.fixture
def processes(checkpoint: Path, domain: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    overrides = [
        f"policy.checkpoint={checkpoint}",
        "policy.deterministic=false",
        "world.backend=point",
        "team.n_agents=3",
        "task.duration_s=20",
        "ros.lockstep=true",
    ]
    nodes = fleet(load_config(YAML, overrides), YAML, overrides)
    served = [
        replace(node, parameters={**node.parameters, "autostart": False}) if node.name == MANAGER else node
        for node in nodes
    ]
    running = [subprocess.Popen(command_line(node)) for node in served]
    yield running
    for process in running:
        process.send_signal(signal.SIGINT)
    assert [process.wait(15) for process in running] == [0] * len(running)


def test_one_graph_flies_mission_after_mission(graph: Graph, processes: list[subprocess.Popen[bytes]]) -> None:
    client = Client(graph)
    summaries = []
    for _ in range(2):
        status, result = client.outcome(client.ask(seed=3, time_limit=6.0))
        assert status == GoalStatus.STATUS_SUCCEEDED
        summaries.append(json.loads(result.summary))
        assert result.success == summaries[-1]["success"]
        assert summaries[-1]["mission_time_s"] == pytest.approx(6.0)
        last = client.feedback[-1]
        assert last.delivered_fraction == pytest.approx(summaries[-1]["delivered_fraction"])
        assert [each.mission_time for each in client.feedback] == sorted(each.mission_time for each in client.feedback)
    for key in ("seed", "delivered_fraction", "delivered_auc", "energy_proxy", "messages_delivered", "bytes_sent"):
        assert summaries[0][key] == summaries[1][key], key
    assert summaries[0]["faults"] == []

    handle = client.ask(seed=4, time_limit=0.0)
    assert not client.ask(seed=5, time_limit=1.0).accepted, "one mission at a time"
    status, result = client.outcome(handle, cancel_after=0)
    assert status == GoalStatus.STATUS_CANCELED
    assert json.loads(result.summary)["seed"] == 4
    assert all(process.poll() is None for process in processes)
