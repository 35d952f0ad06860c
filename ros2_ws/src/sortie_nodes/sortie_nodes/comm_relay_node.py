"""The radio between the drones of a simulated mission; on hardware it is left out, the real radio takes its place."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from nav_msgs.msg import Odometry
from sortie_interfaces.msg import Fault, Frame, RadioStatistics, WorldStatus
from sortie_interfaces.msg import Packet as PacketMsg

from sortie_core.packets import n_rounds
from sortie_nodes import qos
from sortie_nodes.conversions import (
    centre_height_m,
    frame_message,
    motion_of,
    packet_from,
    packet_message,
    tick_of,
)
from sortie_nodes.managed_node import ManagedNode
from sortie_nodes.radio import Radio
from sortie_nodes.spinning import run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_core.packets import Packet

_KEPT_TICKS = 10
"""Scenes of ticks older than this are dropped; no round is open for so long."""


@dataclass
class Scene:
    """Where the team truly is at one tick.

    Attributes:
        position: [N, D] m.
        placed: [N] bool, whose position is known.
        alive: [N] bool.
        announced: the world has said who is alive.
    """

    position: NDArray[np.float32]
    placed: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    announced: bool = False

    @property
    def known(self) -> bool:
        """All living drones have their positions."""
        return self.announced and bool((self.placed | ~self.alive).all())


class CommRelayNode(ManagedNode):
    """Collects each round's packets and hands every drone one frame with those that reach it.

    A round closes when all living drones have sent. One that keeps silent is waited for until comm.frame_timeout_s
    after the round's first packet; in lockstep until ros.command_timeout_s after it, and is then reported as lost.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__("comm_relay", **options)
        ros, comm, self._n_agents = self.config.ros, self.config.comm, self.config.team.n_agents
        self._patience_s = ros.command_timeout_s if ros.lockstep else comm.frame_timeout_s
        self._receivers = []
        for k in range(self._n_agents):
            self.hear(Odometry, f"drone_{k}/odom", partial(self._on_odometry, k), qos.TICK_STATE, drone=k)
            self.hear(PacketMsg, f"drone_{k}/comm/tx", self._on_packet, qos.RADIO, drone=k)
            self._receivers.append(self.speak(Frame, f"drone_{k}/comm/rx", qos.RADIO, drone=k))
        self.hear(WorldStatus, "team_status", self._on_status, qos.TEAM_STATUS)
        self.follow_faults()
        self._statistics = self.speak(RadioStatistics, "radio_statistics", qos.TEAM_STATUS)
        self._timer = self.wall_timer(self._patience_s, self._close_overdue)
        self._timer.cancel()
        self.begin()

    def prepare(self) -> None:
        """Go through one round, since the first one of a process takes a hundred times as long as any later one."""
        everywhere = np.zeros((self._n_agents, self.config.task.dimensions), np.float32)
        self._tuned(0).exchange(0, 0, {}, everywhere, np.ones(self._n_agents, bool))

    def begin(self) -> None:
        """Forget the last mission's rounds."""
        self._radio, self._seeded = self._tuned(self.config.seed), False
        self._scenes: dict[int, Scene] = {}
        self._open: dict[tuple[int, int], dict[int, Packet]] = {}
        self._deadline_s: dict[tuple[int, int], float] = {}
        self._closed: set[tuple[int, int]] = set()

    def _tuned(self, seed: int) -> Radio:
        return Radio(self.config.comm, self.config.world.dt_s, self._n_agents, seed)

    def end(self) -> None:
        """Say what the radio has carried altogether."""
        if self._scenes:
            self._publish_statistics(max(self._scenes))

    def vital_signs(self) -> dict[str, object]:
        """What the radio has carried."""
        return {"radius_m": self.config.comm.radius_m, **asdict(self._radio.count)}

    # What comes in.

    def _scene(self, tick: int) -> Scene:
        if tick not in self._scenes:
            self._scenes = {t: scene for t, scene in self._scenes.items() if t > tick - _KEPT_TICKS}
            self._closed = {at for at in self._closed if at[0] > tick - _KEPT_TICKS}
            shape = (self._n_agents, self.config.task.dimensions)
            nobody = np.zeros(self._n_agents, bool)
            self._scenes[tick] = Scene(np.zeros(shape, np.float32), nobody.copy(), nobody)
        return self._scenes[tick]

    def _on_odometry(self, drone: int, message: Odometry) -> None:
        tick = tick_of(message.header.stamp, self.config.world.dt_s)
        position, _ = motion_of(message)
        position[2] -= centre_height_m(self.config)
        scene = self._scene(tick)
        scene.position[drone] = position[: self.config.task.dimensions]
        scene.placed[drone] = True
        self._close_complete()

    def _on_status(self, message: WorldStatus) -> None:
        if not self._seeded:
            self._radio, self._seeded = self._tuned(message.seed), True
        scene = self._scene(message.tick)
        scene.alive, scene.announced = np.array(message.alive, bool), True
        self._close_complete()

    def on_lost(self, drone: int) -> None:
        """Nobody waits for it any more."""
        self._close_complete()

    def _on_packet(self, message: PacketMsg) -> None:
        packet = packet_from(message)
        at = (packet.tick, packet.round)
        if at in self._closed:
            self._radio.count.messages_late += 1
            return
        if at not in self._open:
            self._open[at] = {}
            self._deadline_s[at] = time.monotonic() + self._patience_s
            self._arm()
        self._open[at][packet.sender] = packet
        self._close_complete()

    # What goes out.

    def _close_complete(self) -> None:
        for at in sorted(self._open):
            scene = self._scene(at[0])
            if scene.known and not self._silent(at).any():
                self._close(at)

    def _close_overdue(self) -> None:
        now_s = time.monotonic()
        for at in [at for at, deadline_s in self._deadline_s.items() if deadline_s <= now_s]:
            if at not in self._open or not self._scene(at[0]).announced:
                continue
            for drone in np.flatnonzero(self._silent(at)) if self.config.ros.lockstep else ():
                text = f"drone {drone} sent nothing in round {at[1]} of tick {at[0]} for {self._patience_s} s"
                self.report_fault(Fault.SILENT, int(drone), text)
            if at in self._open:
                self._close(at)
        self._arm()

    def _silent(self, at: tuple[int, int]) -> NDArray[np.bool_]:
        """[N] who is expected to send and has not."""
        expected = self._hearing(at[0])
        expected[list(self._open[at])] = False
        return expected

    def _hearing(self, tick: int) -> NDArray[np.bool_]:
        """[N] who takes part in the rounds of a tick."""
        alive = self._scene(tick).alive.copy()
        alive[list(self.lost)] = False
        return alive

    def _close(self, at: tuple[int, int]) -> None:
        tick, round_ = at
        packets, scene = self._open.pop(at), self._scene(tick)
        del self._deadline_s[at]
        self._closed.add(at)
        hears = self._hearing(tick)
        heard = self._radio.exchange(tick, round_, packets, scene.position, hears)
        messages: dict[int, PacketMsg] = {}
        for drone, landed in enumerate(heard):
            if hears[drone]:
                each = [messages.setdefault(id(packet), packet_message(packet)) for packet in landed]
                self._receivers[drone].publish(frame_message(tick, round_, each))
        policy = self.config.policy
        if round_ == n_rounds(tick, policy) - 1:
            self._publish_statistics(tick)
        self._arm()

    def _publish_statistics(self, tick: int) -> None:
        self._statistics.publish(RadioStatistics(tick=tick, **asdict(self._radio.count)))

    def _arm(self) -> None:
        """Set the timer to the earliest deadline."""
        if not self._deadline_s:
            self._timer.cancel()
            return
        rest_s = max(1e-3, min(self._deadline_s.values()) - time.monotonic())
        self._timer.timer_period_ns = int(rest_s * 1e9)
        self._timer.reset()


def main() -> int:
    """Run the radio."""
    return run(lambda: [CommRelayNode()])
