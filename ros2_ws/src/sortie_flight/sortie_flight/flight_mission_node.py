"""The manager of a flown mission: checklist, arming and take-off before it, landing after it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, cast

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sortie_interfaces.msg import VehicleStatus
from std_srvs.srv import Trigger

from sortie_flight.flight_phase import ARMING_S
from sortie_nodes import qos
from sortie_nodes.lifecycle_manager import MissionError, until
from sortie_nodes.mission_node import MissionNode
from sortie_nodes.spinning import run

if TYPE_CHECKING:
    from sortie_core.flight_config import FlightConfig
    from sortie_nodes.lifecycle_manager import Script

_ANSWER_S = 3.0
_SHOWN_S = 1.0
"""After so long, topic `flight_status` shows what has been answered, s."""
_LANDING_S = 20.0
"""How long drones may take to land after a mission, s."""
_IN_THE_AIR = {"arm", "take_off", "follow", "land"}


class FlightMissionNode(MissionNode):
    """Has the drones armed once the checklist is green and somebody has said so, and landed in the end.

    Somebody says so by calling `safety_gate/arm`; where flight.confirm is false or no drone is real, this node does.
    """

    def __init__(self) -> None:
        """Make the topics, the clients and the action.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__()
        self._phases: dict[int, str] = {}
        self._red: list[str] = ["nothing is known of the drones yet"]
        self._vehicles: dict[int, VehicleStatus] = {}
        self._latencies_s: dict[int, list[float]] = {}
        self.create_subscription(DiagnosticArray, "flight_status", self._on_flight_status, qos.DIAGNOSTICS)
        self.create_subscription(DiagnosticArray, "checklist", self._on_checklist, qos.DIAGNOSTICS)
        for k in range(self.config.team.n_agents):
            self.create_subscription(VehicleStatus, f"drone_{k}/vehicle/status", self._on_vehicle, qos.COMMAND)
        self._arm = self.create_client(Trigger, "safety_gate/arm")
        self._finish = self.create_client(Trigger, "safety_gate/finish")

    def infrastructure(self) -> list[str]:
        """With the vehicles of each adapter."""
        config = cast("FlightConfig", self.config)
        return [*super().infrastructure(), *(f"vehicles_{adapter}" for adapter in config.adapters)]

    # What is heard.

    def _on_flight_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            self._phases[int(status.name.removeprefix("drone "))] = values["phase"]

    def _on_checklist(self, message: DiagnosticArray) -> None:
        if message.status:
            bad = [each for each in message.status if each.level == DiagnosticStatus.ERROR]
            self._red = [f"{each.name}: {each.message}" for each in bad]

    def _on_vehicle(self, message: VehicleStatus) -> None:
        self._vehicles[message.drone] = message
        if not math.isnan(message.latency):
            self._latencies_s.setdefault(message.drone, []).append(message.latency)

    # The flight.

    def get_ready(self) -> Script:
        """Wait for a green checklist and somebody's word, then for all drones to be up.

        Raises:
            MissionError: the checklist stays red, or no drone comes up.
        """
        config = cast("FlightConfig", self.config)
        if config.asks:
            self.get_logger().info("waiting for somebody to arm: service safety_gate/arm")
            yield from until(lambda: self._under_way() or self._none_left, math.inf)
            self._check_left()
        else:
            yield from self._arm_when_green(config.ros.ready_timeout_s)
        self.get_logger().info("armed: taking off")
        yield from until(lambda: not self._climbing(), ARMING_S + config.flight.climb_timeout_s + _ANSWER_S)
        if "follow" not in self._phases.values():
            raise MissionError("no drone has taken off; see the faults above")

    def _arm_when_green(self, patience_s: float) -> Script:
        deadline_s = time.monotonic() + patience_s
        while not self._under_way():
            yield from until(lambda: not self._red or self._none_left, max(0.0, deadline_s - time.monotonic()))
            self._check_left()
            if self._red:
                raise MissionError(f"not armed, the checklist is red: {'; '.join(self._red)}")
            answer = self._arm.call_async(Trigger.Request())
            yield from until(answer.done, _ANSWER_S)
            yield from until(self._under_way, _SHOWN_S)
            if not self._under_way() and time.monotonic() > deadline_s:
                why = answer.result().message if answer.done() else "the gate does not answer"
                raise MissionError(f"not armed: {why}")

    def come_home(self) -> Script:
        """Land, and write down how the flight went."""
        answer = self._finish.call_async(Trigger.Request())
        yield from until(answer.done, _ANSWER_S)
        self._phases.clear()
        yield from until(lambda: bool(self._phases) and not self._under_way(), _LANDING_S)
        if up := [k for k, phase in self._phases.items() if phase in _IN_THE_AIR]:
            self.get_logger().error(f"still in the air after {_LANDING_S:g} s: drones {', '.join(map(str, up))}")
        self._record.flight = self._figures()

    @property
    def _none_left(self) -> bool:
        return len(self._record.lost) == self.config.team.n_agents

    def _check_left(self) -> None:
        if self._none_left:
            raise MissionError("no drone is left to fly; see the faults above")

    def _under_way(self) -> bool:
        return any(phase in _IN_THE_AIR for phase in self._phases.values())

    def _climbing(self) -> bool:
        return any(phase in ("arm", "take_off") for phase in self._phases.values())

    def _figures(self) -> dict[str, object]:
        """Of the stream of setpoints and the poses, ms."""
        vehicles = list(self._vehicles.values())
        told = [each for each in vehicles if each.setpoints > 1]
        latencies = [value for values in self._latencies_s.values() for value in values]
        figures: dict[str, object] = {"adapters": sorted({each.adapter for each in vehicles})}
        if told:
            figures["setpoint_interval_ms_p50"] = round(1e3 * float(np.median([v.interval_p50 for v in told])), 3)
            figures["setpoint_interval_ms_p99"] = round(1e3 * max(each.interval_p99 for each in told), 3)
        if latencies:
            p50, p99 = np.percentile(latencies, (50, 99))
            figures |= {"pose_latency_ms_p50": round(1e3 * p50, 3), "pose_latency_ms_p99": round(1e3 * p99, 3)}
        battery = [each.battery for each in vehicles if not math.isnan(each.battery)]
        return figures | {"least_battery_v": round(min(battery), 3) if battery else None}


def main() -> int:
    """Run the manager of a flown mission."""
    return run(lambda: [FlightMissionNode()])
