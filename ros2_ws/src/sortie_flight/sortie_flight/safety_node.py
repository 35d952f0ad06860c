"""The only publisher of setpoints: passes every drone's commands through its safety gate."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sortie_interfaces.msg import Fault

from sortie_flight.safety_gate import Intervention, SafetyGate, Stamped
from sortie_nodes import qos
from sortie_nodes.conversions import command_message, motion_of, seconds_of, stamp_of, velocity_from
from sortie_nodes.managed_node import ManagedNode
from sortie_nodes.spinning import run


class DroneChannel:
    """What the gate last heard of one drone.

    Attributes:
        gate: its checks.
        command: velocity wanted; before the first one, to stay where it is.
        position: where it is.
        passed_s: mission time of the last setpoint.
        count: interventions while it took part.
    """

    def __init__(self, gate: SafetyGate, dt_s: float) -> None:
        """As if hover had been commanded in the tick before the first."""
        self.gate = gate
        self.command = Stamped(-dt_s, np.zeros(3))
        self.position: Stamped | None = None
        self.passed_s = self.command.time_s
        self.count: Counter[Intervention] = Counter()


class SafetyNode(ManagedNode):
    """One gate per drone.

    A command is passed on once the odometry of its tick is there. Who has sent none for a tick is looked after when the
    mission's clock shows the next one.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__("safety_gate", **options)
        self._setpoints = []
        for k in range(self.config.team.n_agents):
            self.hear(Odometry, f"drone_{k}/odom", partial(self._on_odometry, k), qos.TICK_STATE, drone=k)
            self.hear(TwistStamped, f"drone_{k}/cmd_vel", partial(self._on_command, k), qos.COMMAND, drone=k)
            self._setpoints.append(self.speak(TwistStamped, f"drone_{k}/setpoint", qos.COMMAND, drone=k))
        self.hear(Clock, "/clock", self._on_clock, qos.CLOCK)
        self.follow_faults()
        self.begin()

    def begin(self) -> None:
        """Start every gate from hover."""
        drones, dt_s = range(self.config.team.n_agents), self.config.world.dt_s
        self._channels = [DroneChannel(SafetyGate(self.config), dt_s) for _ in drones]

    def vital_signs(self) -> dict[str, object]:
        """Interventions of all gates by reason."""
        total = sum((channel.count for channel in self._channels), Counter())
        return {reason.value: total[reason] for reason in Intervention}

    def _on_odometry(self, drone: int, message: Odometry) -> None:
        channel = self._channels[drone]
        position, _ = motion_of(message)
        channel.position = Stamped(seconds_of(message.header.stamp), position)
        self._pass_on(drone)

    def _on_command(self, drone: int, message: TwistStamped) -> None:
        self._channels[drone].command = Stamped(seconds_of(message.header.stamp), velocity_from(message))
        self._pass_on(drone)

    def _pass_on(self, drone: int) -> None:
        """Publish a setpoint if there is a new command and the position that belongs to it."""
        channel = self._channels[drone]
        if channel.position is None or drone in self.lost:
            return
        if channel.position.time_s >= channel.command.time_s > channel.passed_s:
            self._publish(drone, channel.command.time_s)

    def _on_clock(self, message: Clock) -> None:
        now_s, limits = seconds_of(message.clock), self.config.safety
        if not self.active or now_s == 0.0:
            return
        for drone, channel in enumerate(self._channels):
            heard_s = channel.command.time_s
            if drone in self.lost or now_s - heard_s > limits.stale_after_s:
                self._publish(drone, now_s)
            if drone not in self.lost and now_s - heard_s > limits.land_after_s:
                text = f"drone {drone} got no command for {now_s - heard_s:.1f} s and is told to land"
                self.report_fault(Fault.LANDING, drone, text)

    def _publish(self, drone: int, now_s: float) -> None:
        channel = self._channels[drone]
        velocity, reasons = channel.gate.setpoint(now_s, channel.command, channel.position)
        channel.passed_s = now_s
        if drone not in self.lost:
            channel.count.update(reasons)
        tick = round(now_s / self.config.world.dt_s)
        self._setpoints[drone].publish(command_message(velocity, stamp_of(tick, self.config.world.dt_s)))

    def on_lost(self, drone: int) -> None:
        """Hover from now on, and land once the silence has lasted."""
        channel = self._channels[drone]
        channel.command = Stamped(channel.command.time_s, np.zeros(3))


def main() -> int:
    """Run the gates."""
    return run(lambda: [SafetyNode()])
