"""The mission's manager: brings the team up, starts the world, follows the mission, writes down what came of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sortie_interfaces.action import Mission
from sortie_interfaces.msg import AgentReport, ConsumerArray, Fault, RadioStatistics, WorldStatus
from sortie_interfaces.srv import StartWorld

from sortie_nodes import qos
from sortie_nodes.mission_record import MissionRecord
from sortie_nodes.params import declare, declare_config
from sortie_nodes.spinning import FAILED, run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rclpy.action.server import ServerGoalHandle
    from rclpy.client import Client

    Script = Generator[None, None, Any]

_POLL_S = 0.02
_ANSWER_S = 0.5
"""After so long without an answer the question is taken as lost; discovery can be that one-sided for a while."""
_FAREWELL_S = 3.0
"""How long nodes may take to report and to stop after a mission."""
_FEEDBACK_PERIOD_S = 0.1
"""Wall clock."""


_STEPS = {
    Transition.TRANSITION_CONFIGURE: (State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_INACTIVE),
    Transition.TRANSITION_ACTIVATE: (State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE),
    Transition.TRANSITION_DEACTIVATE: (State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE),
    Transition.TRANSITION_CLEANUP: (State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_UNCONFIGURED),
}
"""Where each transition starts and ends."""


class MissionError(Exception):
    """The mission cannot be flown: one line that says why."""


@dataclass
class Managed:
    """One node under management.

    Attributes:
        name: fully qualified.
        drone: whose node it is; None for those that every mission needs.
        change: its lifecycle service.
        look: the service that tells its state.
        refused: it answered that the last transition failed.
        state: what that is, as far as the manager knows; a transition that does not start there would end the node.
    """

    name: str
    drone: int | None
    change: Client
    look: Client
    state: int = State.PRIMARY_STATE_UNCONFIGURED
    refused: bool = False


class MissionNode(Node):
    """Offers the action `mission`; with `autostart` it flies one mission by itself and exits with its outcome.

    A mission is a generator that a timer resumes, for a coroutine that awaits a future keeps the executor spinning at
    full speed. For the same reason a goal is executed, in the action's sense, only once its result is there.
    """

    def __init__(self) -> None:
        """Make the topics, the clients and the action.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__("mission")
        self.config = declare_config(self)
        out = declare(self, "out", "", "folder for summary.json and trajectory.npz; empty = write nothing")
        autostart = declare(self, "autostart", False, "fly one mission of the configuration's seed, then exit")
        self.exit_code: int | None = None
        self._out = Path(out) if out else None
        self._record = MissionRecord(self.config, self.config.seed)  # of nothing yet but early faults
        self._script: Script | None = None
        names: list[tuple[str, int | None]] = [(name, None) for name in ("world", "comm_relay", "safety_gate")]
        names += [(f"drone_{k}/agent", k) for k in range(self.config.team.n_agents)]
        self._nodes = [self._manage(name, drone) for name, drone in names]
        self._start = self.create_client(StartWorld, "world/start")
        self._subscribe()
        self._action = ActionServer(
            self,
            Mission,
            "mission",
            lambda _: Mission.Result(),
            goal_callback=lambda _: GoalResponse.REJECT if self._script else GoalResponse.ACCEPT,
            handle_accepted_callback=lambda goal: self._run(self._serve(goal)),
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        self._timer = self.create_timer(_POLL_S, self._resume, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if autostart:
            self._run(self._autostart())

    def _run(self, script: Script) -> None:
        self._script = script

    def _resume(self) -> None:
        if self._script and next(self._script, self) is self:
            self._script = None

    def _manage(self, name: str, drone: int | None) -> Managed:
        change = self.create_client(ChangeState, f"{name}/change_state")
        return Managed(name, drone, change, self.create_client(GetState, f"{name}/get_state"))

    def _subscribe(self) -> None:
        self.create_subscription(WorldStatus, "team_status", self._on_status, qos.TEAM_STATUS)
        self.create_subscription(RadioStatistics, "radio_statistics", self._on_radio, qos.TEAM_STATUS)
        self.create_subscription(Fault, "faults", self._on_fault, qos.FAULTS)
        self.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self.create_subscription(ConsumerArray, "consumers", self._on_consumers, qos.TICK_STATE)
        for k in range(self.config.team.n_agents):
            self.create_subscription(AgentReport, f"drone_{k}/report", self._on_report, qos.REPORT)
        self._safety_final = False

    # What is heard.

    def _on_status(self, message: WorldStatus) -> None:
        self._record.add_status(message)

    def _on_consumers(self, message: ConsumerArray) -> None:
        if message.tick == 0:
            self._record.consumer_position = np.array(
                [[each.position.x, each.position.y, each.position.z] for each in message.consumers]
            )

    def _on_radio(self, message: RadioStatistics) -> None:
        self._record.radio = message

    def _on_fault(self, message: Fault) -> None:
        self._record.add_fault(message)

    def _on_report(self, message: AgentReport) -> None:
        self._record.reports[message.drone] = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("/safety_gate"):
                values = {item.key: item.value for item in status.values}
                self._safety_final = values.pop("active") == "False"
                self._record.interventions = {key: int(value) for key, value in values.items()}

    # The mission.

    def _serve(self, goal: ServerGoalHandle) -> Script:
        """Fly for a client of the action."""
        try:
            success, summary = yield from self._fly(goal.request.seed, goal.request.time_limit, goal)
        except MissionError as error:
            self.get_logger().error(str(error))
            success, summary = None, {"error": str(error)}

        def conclude(handle: ServerGoalHandle) -> Mission.Result:
            if success is None:
                handle.abort()
            elif handle.is_cancel_requested:
                handle.canceled()
            else:
                handle.succeed()
            return Mission.Result(success=bool(success), summary=json.dumps(summary))

        goal.execute(conclude)

    def _autostart(self) -> Script:
        """Fly for whoever started this process."""
        try:
            success, summary = yield from self._fly(self.config.seed, 0.0, None)
        except MissionError as error:
            self.get_logger().error(str(error))
            self.exit_code = FAILED
            return
        delivered, most = (summary.get(f"{name}_fraction") or 0.0 for name in ("delivered", "deliverable"))
        wanted = self.config.ros.success_fraction * most
        self.get_logger().info(
            f"delivered {delivered:.1%} of the demand; {wanted:.1%} were asked for, the stock allows {most:.1%}"
        )
        self.exit_code = 0 if success else FAILED

    def _fly(self, seed: int, limit_s: float, goal: ServerGoalHandle | None) -> Script:
        """Fly one mission; returns whether it succeeded, and its summary.

        Raises:
            MissionError: it could not begin.
        """
        lost = [fault for _, fault in self._record.faults if fault.lost]
        record = self._record = MissionRecord(self.config, seed, lost)
        try:
            yield from self._bring_up()
            yield from self._start_world(seed, limit_s)
            yield from self._follow(goal)
        except MissionError:
            yield from self._take_down()
            raise
        yield from self._take_down()
        summary = record.summary()
        if self._out:
            record.write(self._out, summary)
        return summary["success"], summary

    def _bring_up(self) -> Script:
        """Find all nodes, configure them, and activate them; each step for all at once."""
        timeout_s = self.config.ros.ready_timeout_s
        began_s = time.monotonic()
        if not (yield from self._until(lambda: all(self._answers(node) for node in self._living()), timeout_s)):
            silent = [node for node in self._living() if not self._answers(node)]
            raise MissionError(f"not up after {timeout_s} s (ros.ready_timeout_s): {_names(silent)}")
        found_s = time.monotonic() - began_s
        deadline_s = began_s + timeout_s
        while failed := (yield from self._change(Transition.TRANSITION_CONFIGURE, timeout_s)):
            if any(node.refused for node in failed) or time.monotonic() > deadline_s:
                raise MissionError(f"could not be configured, see their messages above: {_names(failed)}")
        # Each attempt to become active waits for links only so long, to hear of lost drones in between.
        while failed := (yield from self._change(Transition.TRANSITION_ACTIVATE, timeout_s)):
            if time.monotonic() > deadline_s:
                raise MissionError(f"not active after {timeout_s} s (ros.ready_timeout_s): {_names(failed)}")
        ready_s = time.monotonic() - began_s
        self.get_logger().info(f"{len(self._living())} nodes found in {found_s:.1f} s, ready in {ready_s:.1f} s")

    def _living(self) -> list[Managed]:
        """Nodes that are not known to be gone."""
        lost = self._record.lost
        return [node for node in self._nodes if node.drone not in lost]

    @staticmethod
    def _answers(node: Managed) -> bool:
        return node.change.service_is_ready() and node.look.service_is_ready()

    def _change(self, transition: int, timeout_s: float) -> Script:
        """Put all living nodes through a transition; those that did not follow."""
        start, end = _STEPS[transition]
        request = ChangeState.Request()
        request.transition.id = transition
        nodes = [node for node in self._living() if node.state == start and self._answers(node)]
        asked = {node.name: [node.change.call_async(request)] for node in nodes}

        def unanswered() -> list[Managed]:
            living = self._living()
            return [node for node in nodes if node in living and not any(each.done() for each in asked[node.name])]

        deadline_s = time.monotonic() + timeout_s
        while not (yield from self._until(lambda: not unanswered(), _ANSWER_S)) and time.monotonic() < deadline_s:
            # An answer may be lost where the other side has not found this one yet, though it found the question; a
            # node asked for its state answers once its transition is over.
            for node in unanswered():
                asked[node.name].append(node.look.call_async(GetState.Request()))
        for node in nodes:
            for answer in (each.result() for each in asked[node.name] if each.done()):
                changed = isinstance(answer, ChangeState.Response)
                node.refused = changed and not answer.success
                node.state = (start if node.refused else end) if changed else answer.current_state.id
        return [node for node in nodes if node.state != end and node in self._living()]

    def _start_world(self, seed: int, limit_s: float) -> Script:
        answer = self._start.call_async(StartWorld.Request(seed=seed, time_limit=limit_s))
        record = self._record
        # The first tick is as good as an answer.
        if not (
            yield from self._until(lambda: answer.done() or record.status is not None, self.config.ros.ready_timeout_s)
        ):
            raise MissionError("the world did not start")
        if answer.done() and not answer.result().success:
            raise MissionError(answer.result().message)

    def _follow(self, goal: ServerGoalHandle | None) -> Script:
        """Until the world says that it is over, or nobody wants the mission any more."""
        record = self._record

        def over() -> bool:
            return bool(record.status and record.status.done) or bool(goal and goal.is_cancel_requested)

        while not (yield from self._until(over, _FEEDBACK_PERIOD_S)):
            if goal:
                self._feed_back(goal, record)
        if goal:
            self._feed_back(goal, record)

    @staticmethod
    def _feed_back(goal: ServerGoalHandle, record: MissionRecord) -> None:
        goal.publish_feedback(
            Mission.Feedback(
                mission_time=record.time_s,
                delivered_fraction=record.status.delivered_fraction if record.status else 0.0,
                messages_sent=record.radio.messages_sent if record.radio else 0,
                faults=[fault for _, fault in record.faults],
            )
        )

    def _take_down(self) -> Script:
        """Back to where another mission can begin; reports come on the way."""
        record = self._record
        self._safety_final = False
        yield from self._change(Transition.TRANSITION_DEACTIVATE, _FAREWELL_S)
        if record.status:
            agents = {node.drone for node in self._living()} - {None}
            yield from self._until(lambda: agents <= set(record.reports) and self._safety_final, _FAREWELL_S)
        yield from self._change(Transition.TRANSITION_CLEANUP, _FAREWELL_S)

    @staticmethod
    def _until(condition: Callable[[], bool], timeout_s: float) -> Script:
        """Let everything else go on until a condition holds; whether it does in the end."""
        deadline_s = time.monotonic() + timeout_s
        while not (holds := condition()) and time.monotonic() < deadline_s:
            yield
        return holds


def _names(nodes: list[Managed]) -> str:
    return ", ".join(node.name for node in nodes)


def main() -> int:
    """Run the mission's manager."""
    return run(lambda: [MissionNode()])
