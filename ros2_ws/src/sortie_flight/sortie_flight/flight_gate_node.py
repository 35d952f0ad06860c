"""The gate of a flight: leads every drone through its phases and streams setpoints by the wall clock."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from sortie_interfaces.msg import Fault, Setpoint, VehicleStatus
from std_srvs.srv import Trigger

from sortie_flight.checklist import Line, drone_lines, team_lines
from sortie_flight.flight_phase import DroneFlight, Sight
from sortie_flight.gate_node import DroneChannel, GateNode
from sortie_flight.vehicle import Mode
from sortie_nodes import qos
from sortie_nodes.conversions import motion_of, seconds_of, setpoint_message, velocity_from
from sortie_nodes.spinning import run
from sortie_safety.safety_gate import Command, Kinematics, SafetyGate
from sortie_sim.mission_world import climb_rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_core.flight_config import FlightConfig

_SHOWN_S = 0.2
"""How often phases and the checklist are published, s."""


class FlightGateNode(GateNode):
    """One gate per drone, by the wall clock, and the only one who arms.

    The service `~/arm` (std_srvs/Trigger) arms all drones and has them take off, once every line of the checklist is
    green; it names the first that is not. Topics `flight_status` (one status a drone) and `checklist` (one a line) are
    for people.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__(**options)
        for k in self.drones:
            self.hear(Odometry, f"drone_{k}/vehicle/odom", partial(self._on_odometry, k), qos.TICK_STATE, drone=k)
            self.hear(VehicleStatus, f"drone_{k}/vehicle/status", partial(self._on_status, k), qos.COMMAND, drone=k)
            self.hear(TwistStamped, f"drone_{k}/cmd_vel", partial(self._on_command, k), qos.COMMAND, drone=k)
        self._shown = self.create_publisher(DiagnosticArray, "flight_status", qos.DIAGNOSTICS)
        self._list = self.create_publisher(DiagnosticArray, "checklist", qos.DIAGNOSTICS)
        self.create_service(Trigger, "~/arm", self._on_arm)
        self.create_service(Trigger, "~/finish", self._on_finish)
        self._period_s = 1.0 / self.flight_config.flight.setpoint_hz
        self.wall_timer(self._period_s, self._stream)
        self.wall_timer(_SHOWN_S, self._show)

    @property
    def flight_config(self) -> FlightConfig:
        """The configuration, as what it is."""
        return cast("FlightConfig", self.config)

    def make_channel(self) -> DroneChannel:
        """As if hover had been commanded just now."""
        return DroneChannel(SafetyGate(self.config, 1.0 / self.flight_config.flight.setpoint_hz), time.monotonic())

    def begin(self) -> None:
        """All drones are on the ground; what has been heard of their vehicles goes on."""
        before = getattr(self, "flights", [])
        super().begin()
        self.flights = [DroneFlight(self.flight_config, drone) for drone in self.drones]
        for flight, channel in zip(self.flights, self.channels, strict=True):
            if channel.told == Setpoint.EMERGENCY:
                flight.emergency()
        if not before:
            self._status: list[VehicleStatus | None] = [None for _ in self.drones]
            self._heard_s = [-math.inf for _ in self.drones]
        self._policies_fly = False

    def act(self, drone: int) -> None:
        """Land or stop motors, now."""
        channel, flight = self.channels[drone], self.flights[drone]
        if channel.told == Setpoint.EMERGENCY:
            flight.emergency()
        else:
            flight.land(Fault.TOLD_TO_LAND, "it is told to land")
        self._set(drone, time.monotonic())

    def on_lost(self, drone: int) -> None:
        """Without its policy, a drone goes down."""
        self.flights[drone].land(Fault.LANDING, "its policy is gone")

    # What is heard.

    def _on_odometry(self, drone: int, message: Odometry) -> None:
        position, velocity = motion_of(message)
        self.channels[drone].hear(Kinematics(self._monotonic(message.header.stamp), position, velocity))

    def _on_status(self, drone: int, message: VehicleStatus) -> None:
        self._status[drone] = message
        self._heard_s[drone] = time.monotonic() - message.silent

    def _on_command(self, drone: int, message: TwistStamped) -> None:
        if drone in self.lost:
            return
        now_s = time.monotonic()
        if not self._policies_fly:  # from now on every policy's silence counts
            self._policies_fly = True
            for channel in self.channels:
                channel.command = Command(now_s, np.zeros(3))
        self.channels[drone].command = Command(now_s, velocity_from(message))

    def _monotonic(self, stamp: Any) -> float:
        """A system time by the clock that does not jump, s."""
        age_s = self.get_clock().now().nanoseconds * 1e-9 - seconds_of(stamp)
        return time.monotonic() - max(age_s, 0.0)

    def _sight(self, drone: int, now_s: float) -> Sight:
        channel, status = self.channels[drone], self._status[drone]
        own = channel.own if channel.own is not None and channel.own.finite else None
        seen = Sight(
            pose_age_s=now_s - own.time_s if own else math.inf,
            height_m=float(own.position[2]) if own else math.nan,
            silent_s=now_s - self._heard_s[drone],
            policy_silent_s=now_s - channel.command.time_s if self._policies_fly else 0.0,
        )
        if status is None:
            return seen
        return replace(
            seen,
            armed=status.armed,
            airborne=status.airborne,
            locked=status.locked,
            can_arm=status.can_arm,
            boots=status.boots,
            battery_v=status.battery,
            failsafe=status.failsafe,
        )

    # What drones do.

    def _stream(self) -> None:
        now_s = time.monotonic()
        for drone in self.drones:
            self._set(drone, now_s)

    def _set(self, drone: int, now_s: float) -> None:
        flight, channel = self.flights[drone], self.channels[drone]
        flight.update(now_s, self._sight(drone, now_s))
        velocity = np.zeros(3)
        if flight.mode is Mode.FOLLOW:
            velocity = self._velocity(drone, now_s)
        stamp = self.get_clock().now().to_msg()
        height_m = self.config.world.altitude_m
        self.setpoints[drone].publish(setpoint_message(flight.mode, velocity, stamp, height_m))
        if flight.fault is not None and drone not in self.lost:
            kind, text = flight.fault
            channel.told = channel.told or Setpoint.LAND
            self.report_fault(kind, drone, f"drone {drone} is out of the mission: {text}")

    def _velocity(self, drone: int, now_s: float) -> NDArray[np.float64]:
        """What a drone in the air may fly, [3] m/s: as its policy wants, in 2-D at the altitude of the mission."""
        channel = self.channels[drone]
        # Before the mission, and after it, drones wait where they are.
        led = self._policies_fly and drone not in self.lost
        command = channel.command if led else Command(now_s, np.zeros(3))
        if self.config.task.dimensions == 2 and channel.own is not None and channel.own.finite:
            climb = climb_rate(self.config.world.altitude_m, channel.own.position[2:])
            command = Command(command.time_s, np.append(command.velocity[:2], climb))
        return self.checked(drone, now_s, command, self.others_of(drone, self._in_the_air(), now_s))

    def _in_the_air(self) -> NDArray[np.bool_]:
        """[N] bool; who has come down out of the mission counts, too, lest somebody lands on it."""
        return np.array(
            [
                status is not None
                and (status.airborne or (drone in self.lost and self.flights[drone].fault is not None))
                for drone, status in enumerate(self._status)
            ]
        )

    # What people ask for and see.

    def _lines(self, now_s: float) -> list[Line]:
        places = [channel.own.position if channel.own else None for channel in self.channels]
        lines = team_lines(places, self.flight_config)
        for drone, (flight, place) in enumerate(zip(self.flights, places, strict=True)):
            if drone in self.lost and flight.fault is None:
                continue  # out since an earlier mission; it is not armed
            fence = self.channels[drone].gate.fence
            lines += drone_lines(drone, self._sight(drone, now_s), flight, place, fence, self.flight_config)
            status = self._status[drone]
            lines += [Line(drone, "remark", True, text, True) for text in (status.remarks if status else ())]
        return lines

    def _on_arm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        now_s = time.monotonic()
        red = [line for line in self._lines(now_s) if not line.ok]
        if not self.active:
            response.message = "the gate is not active"
        elif len(self.lost) == len(self.drones):
            response.message = "no drone is left; start anew"
        elif red:
            whose = "the team" if red[0].drone is None else f"drone {red[0].drone}"
            response.message = f"{whose}, {red[0].item}: {red[0].text}"
        else:
            for drone, flight in enumerate(self.flights):
                if drone not in self.lost:
                    flight.arm(now_s, self._sight(drone, now_s))
            response.success = True
        return response

    def _on_finish(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The mission is over: policies are not listened to any more, and all drones land in good order."""
        self._policies_fly = False
        for flight in self.flights:
            flight.land()
        response.success = True
        return response

    def _show(self) -> None:
        now_s, stamp = time.monotonic(), self.get_clock().now().to_msg()
        shown, checks = DiagnosticArray(), DiagnosticArray()
        shown.header.stamp = checks.header.stamp = stamp
        shown.status = [self._shown_status(drone, now_s) for drone in self.drones]
        if any(flight.mode is Mode.GROUND for flight in self.flights):
            checks.status = [_check_status(line) for line in self._lines(now_s)]
        self._shown.publish(shown)
        self._list.publish(checks)

    def _room_m(self, drone: int) -> float:
        """Distance to the fence, m; on the ground to its walls alone; nan where it is not known."""
        channel = self.channels[drone]
        if channel.own is None or not channel.own.finite:
            return math.nan
        place = channel.own.position.copy()
        if not self.flights[drone].flying:
            place[2] = self.config.world.altitude_m
        return channel.gate.fence.distance_m(place)

    def _shown_status(self, drone: int, now_s: float) -> DiagnosticStatus:
        channel, flight, sight, status = (
            self.channels[drone], self.flights[drone], self._sight(drone, now_s), self._status[drone]
        )  # fmt: skip
        values = {
            "phase": flight.mode.name.lower(),
            "vehicle": f"{status.adapter}: {status.mode}" if status else "",
            "battery_v": sight.battery_v,
            "link": status.link if status else math.nan,
            "silent_s": sight.silent_s,
            "pose_age_s": sight.pose_age_s,
            "latency_s": status.latency if status else math.nan,
            "fence_m": self._room_m(drone),
            "setpoints": channel.setpoints,
            "interventions": sum(channel.count.values()),
            "interval_p99_s": status.interval_p99 if status else math.nan,
        }
        return DiagnosticStatus(
            level=DiagnosticStatus.ERROR if flight.fault else DiagnosticStatus.OK,
            name=f"drone {drone}",
            message=flight.fault[1] if flight.fault else "",
            values=[
                KeyValue(key=key, value=f"{value:.4f}" if isinstance(value, float) else str(value))
                for key, value in values.items()
            ],
        )


def _check_status(line: Line) -> DiagnosticStatus:
    level = DiagnosticStatus.ERROR if not line.ok else DiagnosticStatus.WARN if line.warning else DiagnosticStatus.OK
    whose = "team" if line.drone is None else f"drone {line.drone}"
    return DiagnosticStatus(level=level, name=f"{whose}: {line.item}", message=line.text)


def main() -> int:
    """Run the gates of a flight."""
    return run(lambda: [FlightGateNode()])
