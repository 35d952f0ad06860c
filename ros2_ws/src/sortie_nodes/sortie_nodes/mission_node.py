"""The mission's manager: brings the team up, starts the world, follows the mission, writes down what came of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sortie_interfaces.action import Mission
from sortie_interfaces.msg import AgentReport, ConsumerArray, Fault, RadioStatistics, WorldStatus
from sortie_interfaces.srv import StartWorld

from sortie_cluster.live_config import LiveConfig
from sortie_core.packets import n_rounds
from sortie_nodes import qos
from sortie_nodes.lifecycle_manager import LifecycleManager, MissionError, until
from sortie_nodes.mission_record import MissionRecord
from sortie_nodes.params import declare, declare_config
from sortie_nodes.spinning import FAILED, run
from sortie_nodes.topic_tap import is_public

if TYPE_CHECKING:
    from rclpy.action.server import ServerGoalHandle

    from sortie_nodes.lifecycle_manager import Script

_POLL_S = 0.02
_FAREWELL_S = 3.0
"""How long reports of a mission may take to come in."""
_RECORDER_PATIENCE_S = 5.0
_FEEDBACK_PERIOD_S = 0.1
"""Wall clock."""


class MissionNode(Node):
    """Offers the action `mission`; with `autostart` it flies one mission by itself and exits with its outcome.

    A mission is a script that a timer resumes. A goal is executed, in the action's sense, only once its result is
    there, since a coroutine that waited for it would keep the executor at full speed.
    """

    def __init__(self) -> None:
        """Make the topics, the clients and the action.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__("mission")
        self.config = declare_config(self)
        out = declare(self, "out", "", "folder for summary.json and trajectory.npz; empty = write nothing")
        self._recorder = declare(self, "recorder", "", "node that is to hear all topics first; empty = nobody records")
        autostart = declare(self, "autostart", False, "fly one mission of the configuration's seed, then exit")
        self.exit_code: int | None = None
        self._out = Path(out) if out else None
        self._record = MissionRecord(self.config, self.config.seed)  # of nothing yet but early faults
        self._script: Script | None = None
        # where nothing flies, there is no gate
        self._gated = not isinstance(self.config, LiveConfig)
        names: list[tuple[str, int | None]] = [(name, None) for name in self.infrastructure()]
        names += [(f"drone_{k}/agent", k) for k in range(self.config.team.n_agents)]
        self._team = LifecycleManager(self, names, lambda: self._record.lost)
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

    def infrastructure(self) -> list[str]:
        """Nodes without which no mission can be flown."""
        return ["world", "comm_relay", *(["safety_gate"] if self._gated else [])]

    def get_ready(self) -> Script:
        """All nodes are up, the mission has not begun: what has to be done before it can.

        Raises:
            MissionError: it cannot be done.
        """
        yield from ()

    def come_home(self) -> Script:
        """The mission is over, well or not, and all nodes are up: what has to be done before they may stop."""
        yield from ()

    def _run(self, script: Script) -> None:
        self._script = script

    def _resume(self) -> None:
        if self._script and next(self._script, self) is self:
            self._script = None

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
                self._record.setpoints = int(values.pop("setpoints"))
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
        if not self._gated:
            self.get_logger().info(f"{summary.get('delivered_fraction') or 0.0:.1%} of the tasks have ended")
            self.exit_code = 0 if success else FAILED
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
        record = self._record = self._record.successor(seed)
        try:
            began_s = time.monotonic()
            yield from self._team.bring_up(self.config.ros.ready_timeout_s)
            self.get_logger().info(
                f"{len(self._team.living)} nodes ready in {time.monotonic() - began_s:.1f} s, "
                f"in ROS_DOMAIN_ID={self.context.get_domain_id()}"
            )
            yield from self._await_recorder()
            yield from self.get_ready()
            yield from self._start_world(seed, limit_s)
            yield from self._follow(goal)
        except MissionError:
            yield from self.come_home()
            yield from self._take_down()
            raise
        yield from self.come_home()
        yield from self._take_down()
        summary = record.summary()
        if self._out:
            record.write(self._out, summary)
        return summary["success"], summary

    def _await_recorder(self) -> Script:
        """Until it hears all topics that there are; a run goes on without one that does not."""
        if not self._recorder:
            return
        unheard = [topic for topic, _ in self.get_topic_names_and_types() if is_public(topic)]

        def heard() -> bool:
            unheard[:] = [topic for topic in unheard if not self._is_recorded(topic)]
            return not unheard

        if not (yield from until(heard, _RECORDER_PATIENCE_S)):
            self.get_logger().warning(f"the recorder does not hear {', '.join(unheard)}; the run goes on")

    def _is_recorded(self, topic: str) -> bool:
        if not self.count_publishers(topic):
            return True  # there is nothing to hear
        return any(each.node_name == self._recorder for each in self.get_subscriptions_info_by_topic(topic))

    def _start_world(self, seed: int, limit_s: float) -> Script:
        answer = self._start.call_async(StartWorld.Request(seed=seed, time_limit=limit_s))
        record = self._record
        # The first tick is as good as an answer.
        if not (yield from until(lambda: answer.done() or record.status is not None, self.config.ros.ready_timeout_s)):
            raise MissionError("the world did not start")
        if answer.done() and not answer.result().success:
            raise MissionError(answer.result().message)

    def _follow(self, goal: ServerGoalHandle | None) -> Script:
        """Until the world says that it is over, or nobody wants the mission any more.

        Raises:
            MissionError: the world has fallen silent.
        """
        record, policy = self._record, self.config.policy
        # In every round of a tick everybody may have waited for somebody.
        patience_s = (n_rounds(0, policy) + 2) * self.config.ros.command_timeout_s
        tick, heard_s = -1, time.monotonic()

        def over() -> bool:
            return bool(record.status and record.status.done) or bool(goal and goal.is_cancel_requested)

        while not (yield from until(over, _FEEDBACK_PERIOD_S)):
            if record.status and record.status.tick != tick:
                tick, heard_s = record.status.tick, time.monotonic()
            if time.monotonic() > heard_s + patience_s:
                raise MissionError(f"no tick of the world for {patience_s:.0f} s; see its messages above")
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
        yield from self._team.stop()
        agents = {node.drone for node in self._team.living} - {None}

        last_tick = record.status.tick - 1 if record.status else -1

        def complete() -> bool:
            counted = record.radio is not None and record.radio.tick >= last_tick
            return agents <= set(record.reports) and (self._safety_final or not self._gated) and counted

        if record.status:
            yield from until(complete, _FAREWELL_S)
        yield from self._team.release()


def main() -> int:
    """Run the mission's manager."""
    return run(lambda: [MissionNode()])
