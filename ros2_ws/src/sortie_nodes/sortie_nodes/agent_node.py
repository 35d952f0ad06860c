"""One drone: perceives, talks over the radio, decides, commands."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args
from sortie_interfaces.msg import AgentReport, Claim, ConsumerArray, Frame, Stock
from sortie_interfaces.msg import Packet as PacketMsg

from sortie_core.packets import Consumers, LocalView
from sortie_nodes import qos
from sortie_nodes.conversions import (
    claim_message,
    command_message,
    local_view,
    packet_from,
    packet_message,
    tick_of,
)
from sortie_nodes.managed_node import ManagedNode
from sortie_nodes.params import declare_index
from sortie_nodes.spinning import run
from sortie_policy.agents import Runtime, runtime_of

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time

    from sortie_core.config import Config
    from sortie_core.packets import Packet

_INPUTS = 3
"""Odometry, stock and consumers make a tick."""


class ComputeClock:
    """Adds up the time spent inside of it, tick by tick, as wall clock and as processor time."""

    def __init__(self) -> None:
        """Start at zero."""
        self.compute_s: list[float] = []
        self.cpu_s: list[float] = []
        self._tick = (0.0, 0.0)

    def __enter__(self) -> None:
        """Start counting."""
        self._began = (time.perf_counter(), time.thread_time())

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        began, tick = self._began, self._tick
        self._tick = (tick[0] + time.perf_counter() - began[0], tick[1] + time.thread_time() - began[1])

    def close_tick(self, *, keep: bool) -> None:
        """Begin the next tick; keep the figures of the last one or drop them."""
        if keep:
            self.compute_s.append(self._tick[0])
            self.cpu_s.append(self._tick[1])
        self._tick = (0.0, 0.0)


class AgentNode(ManagedNode):
    """Runs the policy of one drone, in the drone's namespace.

    A tick begins once odometry, stock and consumers of the same tick are there. From then on, every frame that the
    radio brings closes a round: the policy either has another packet to send, or the tick is over and has a command.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics; the policy is loaded on configuring.

        Raises:
            UserError: the configuration cannot be read, or the index is not in the team.
        """
        super().__init__("agent", **options)
        self.index = declare_index(self, self.config)
        self._loaded: Runtime | None = None
        self._reset()
        self.hear(Odometry, "odom", self._on_odometry, qos.TICK_STATE)
        self.hear(Stock, "stock", self._on_stock, qos.TICK_STATE)
        self.hear(ConsumerArray, self.team_topic("consumers"), self._on_consumers, qos.TICK_STATE)
        self.hear(Frame, "comm/rx", self._on_frame, qos.RADIO)
        self._transmitter = self.speak(PacketMsg, "comm/tx", qos.RADIO)
        self._command = self.speak(TwistStamped, "cmd_vel", qos.COMMAND)
        self._claim = self.speak(Claim, "claim", qos.COMMAND, subscriptions=0)
        self._report = self.speak(AgentReport, "report", qos.REPORT, subscriptions=0)

    def _reset(self) -> None:
        self._compute = ComputeClock()
        self._inputs: dict[int, dict[type, Any]] = {}
        self._frames: dict[tuple[int, int], Frame] = {}
        self._tick, self._round, self._stamp = -1, -1, None
        self._abandoned = 0

    # Lifecycle.

    def prepare(self) -> None:
        """Load the policy.

        Raises:
            UserError: the checkpoint is missing, broken, or of another configuration.
        """
        _rehearse(runtime_of(self.config, self.index), self.config)
        self._loaded = runtime_of(self.config, self.index)
        rate = self._runtime.contraction_rate
        if rate <= 0:
            self.get_logger().warning(f"the policy does not contract (c = {rate:.3g} 1/s): it may not settle")

    def begin(self) -> None:
        """Start with a policy that has seen nothing yet."""
        self._reset()

    def end(self) -> None:
        """Publish how this agent has kept up."""
        self._report.publish(
            AgentReport(
                drone=self.index,
                contraction_rate=float(self._runtime.contraction_rate),
                ticks_completed=len(self._compute.compute_s),
                ticks_abandoned=self._abandoned,
                compute=self._compute.compute_s,
                cpu=self._compute.cpu_s,
            )
        )

    def release(self) -> None:
        """Drop the policy, and with it what it remembers."""
        self._loaded = None

    @property
    def _runtime(self) -> Runtime:
        if self._loaded is None:
            raise RuntimeError("configure the agent before using it")
        return self._loaded

    def vital_signs(self) -> dict[str, object]:
        """How fast ticks are computed."""
        signs: dict[str, object] = {
            "ticks_completed": len(self._compute.compute_s),
            "ticks_abandoned": self._abandoned,
            "contraction_rate_per_s": self._loaded.contraction_rate if self._loaded else "",
        }
        if self._compute.compute_s:
            for share, value in zip((50, 95, 99), np.percentile(self._compute.compute_s, (50, 95, 99)), strict=True):
                signs[f"tick_ms_p{share}"] = round(1e3 * float(value), 3)
        return signs

    # A tick.

    def _on_odometry(self, message: Odometry) -> None:
        self._perceive(tick_of(message.header.stamp, self.config.world.dt_s), message)

    def _on_stock(self, message: Stock) -> None:
        self._perceive(message.tick, message)

    def _on_consumers(self, message: ConsumerArray) -> None:
        self._perceive(message.tick, message)

    def _perceive(self, tick: int, message: Any) -> None:
        if not self.active or tick <= self._tick:
            return
        inputs = self._inputs.setdefault(tick, {})
        inputs[type(message)] = message
        if len(inputs) < _INPUTS:
            return
        if self._stamp is not None:
            self._abandoned += 1
            self._compute.close_tick(keep=False)
        with self._compute:
            view = local_view(inputs[Odometry], inputs[Stock], inputs[ConsumerArray], self.config)
            self._tick, self._round, self._stamp = tick, 0, inputs[Stock].header.stamp
            self._inputs = {later: parts for later, parts in self._inputs.items() if later > tick}
            self._frames = {at: frame for at, frame in self._frames.items() if at >= (tick, 0)}
            self._send(self._runtime.start_tick(view))
        self._close_rounds()

    def _on_frame(self, message: Frame) -> None:
        if self.active and (message.tick, message.round) >= (self._tick, self._round):
            self._frames[message.tick, message.round] = message
            self._close_rounds()

    def _close_rounds(self) -> None:
        """Go as far as the frames that are there allow; a frame may come before its tick has begun here."""
        while self._stamp is not None and (frame := self._frames.pop((self._tick, self._round), None)):
            with self._compute:
                packet = self._runtime.finish_round([packet_from(each) for each in frame.packets])
                if packet is None:
                    self._decide(self._stamp)
                else:
                    self._round += 1
                    self._send(packet)
            if self._stamp is None:
                self._compute.close_tick(keep=True)

    def _decide(self, stamp: Time) -> None:
        decision = self._runtime.decision
        if decision is None:
            raise RuntimeError("a tick is over without a decision")
        self._command.publish(command_message(decision.velocity, stamp))
        self._claim.publish(claim_message(decision, stamp))
        self._stamp = None

    def _send(self, packet: Packet) -> None:
        self._transmitter.publish(packet_message(packet))


def _rehearse(runtime: Runtime, config: Config) -> None:
    """Go through one decision, since the first one of a process takes a hundred times as long as any later one."""
    task = config.task
    place, demand = np.zeros((task.n_consumers, task.dimensions)), np.ones((task.n_consumers, task.n_resources))
    active, nobody = np.ones(task.n_consumers, bool), np.zeros(task.n_consumers, bool)
    consumers = Consumers(place, demand, demand, active, nobody, nobody, np.zeros(task.n_resources, bool))
    view = LocalView(0, 0.0, place[0], place[0], demand[0], consumers)
    packet: Packet | None = runtime.start_tick(view)
    while packet is not None:
        packet = runtime.finish_round([])


def main() -> int:
    """Run one agent."""
    return run(lambda: [AgentNode()])


def host() -> int:
    """Run several agents in one process, each in its drone's namespace."""
    parser = argparse.ArgumentParser(description=host.__doc__)
    parser.add_argument("--drones", type=int, nargs="+", required=True, help="numbers of the drones")
    drones = parser.parse_args(remove_ros_args(sys.argv)[1:]).drones
    return run(
        lambda: (AgentNode(namespace=f"drone_{k}", parameter_overrides=[Parameter("index", value=k)]) for k in drones)
    )
