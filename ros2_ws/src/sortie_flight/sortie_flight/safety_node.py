"""The gate of a simulated mission: passes every drone's commands through its checks, tick by tick."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sortie_interfaces.msg import Fault, Setpoint

from sortie_flight.gate_node import DroneChannel, GateNode
from sortie_nodes import qos
from sortie_nodes.conversions import motion_of, seconds_of, setpoint_message, stamp_of, velocity_from
from sortie_nodes.spinning import run
from sortie_safety.safety_gate import Command, Kinematics, SafetyGate


class SafetyNode(GateNode):
    """One gate per drone, by the mission's clock.

    A command is passed on once the odometry of its tick is there, of all drones, so that a mission can be replayed
    exactly. Who has sent none for a tick is looked after when the mission's clock shows the next one.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__(**options)
        for k in self.drones:
            self.hear(Odometry, f"drone_{k}/odom", partial(self._on_odometry, k), qos.TICK_STATE, drone=k)
            self.hear(TwistStamped, f"drone_{k}/cmd_vel", partial(self._on_command, k), qos.COMMAND, drone=k)
        self.hear(Clock, "/clock", self._on_clock, qos.CLOCK)

    def make_channel(self) -> DroneChannel:
        """As if hover had been commanded in the tick before the first."""
        return DroneChannel(SafetyGate(self.config), -self.config.world.dt_s)

    def begin(self) -> None:
        """The clock stands at the start."""
        self._now_s = 0.0
        super().begin()

    def act(self, drone: int) -> None:
        """Publish by the clock as it stands."""
        self._publish(drone, self._now_s)

    def on_lost(self, drone: int) -> None:
        """Hover from now on, and land once the silence has lasted."""
        channel = self.channels[drone]
        channel.command = Command(channel.command.time_s, np.zeros(3))
        self._pass_on()

    def _on_odometry(self, drone: int, message: Odometry) -> None:
        position, velocity = motion_of(message)
        self.channels[drone].hear(Kinematics(seconds_of(message.header.stamp), position, velocity))
        self._pass_on()

    def _on_command(self, drone: int, message: TwistStamped) -> None:
        self.channels[drone].command = Command(seconds_of(message.header.stamp), velocity_from(message))
        self._pass_on()

    def _pass_on(self) -> None:
        """Publish a setpoint for every new command once all positions that belong to it are there."""
        known_s = [
            -np.inf if channel.own is None else channel.own.time_s
            for drone, channel in enumerate(self.channels)
            if drone not in self.lost
        ]
        oldest_s = min(known_s, default=-np.inf)
        for drone, channel in enumerate(self.channels):
            if drone not in self.lost and oldest_s >= channel.command.time_s > channel.passed_s:
                self._publish(drone, channel.command.time_s)

    def _on_clock(self, message: Clock) -> None:
        self._now_s, limits = seconds_of(message.clock), self.config.safety
        if not self.active or self._now_s == 0.0:
            return
        for drone, channel in enumerate(self.channels):
            silent_s = self._now_s - channel.command.time_s
            if drone in self.lost or silent_s > limits.stale_after_s:
                self._publish(drone, self._now_s)
            if channel.told is None and silent_s > limits.land_after_s:
                text = f"drone {drone} got no command for {silent_s:.1f} s and is told to land"
                self.tell(drone, Setpoint.LAND, Fault.LANDING, text)

    def _publish(self, drone: int, now_s: float) -> None:
        channel, dt_s = self.channels[drone], self.config.world.dt_s
        everybody = np.ones(len(self.drones), bool)
        velocity = self.checked(drone, now_s, channel.command, self.others_of(drone, everybody, now_s))
        channel.passed_s = now_s
        mode = Setpoint.FOLLOW if channel.told is None else channel.told
        self.setpoints[drone].publish(setpoint_message(mode, velocity, stamp_of(round(now_s / dt_s), dt_s)))


def main() -> int:
    """Run the gates."""
    return run(lambda: [SafetyNode()])
