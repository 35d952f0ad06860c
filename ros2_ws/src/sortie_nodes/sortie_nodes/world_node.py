"""The simulated world of a mission and its clock."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sortie_interfaces.msg import ConsumerArray, Fault, Setpoint, Stock, WorldStatus
from sortie_interfaces.srv import StartWorld

from sortie_core.config import UserError
from sortie_core.packets import n_rounds
from sortie_nodes import qos
from sortie_nodes.conversions import (
    consumers_message,
    odometry_message,
    stamp_of,
    status_message,
    stock_message,
    tick_of,
)
from sortie_nodes.spinning import run
from sortie_nodes.ticking_node import TickingNode
from sortie_sim.mission_world import MissionWorld

_STATUS_READERS = 2
"""The radio and the mission's manager."""
_DIGITS = 6
"""Decimal places of the final figures, which are single precision."""


class WorldNode(TickingNode):
    """Moves the team tick by tick and tells each drone what it perceives; in lockstep it waits for all setpoints."""

    ANSWER = "setpoint"
    CLOCK_READERS = 1  # the safety gate
    ODOMETRY_READERS = 3  # the drone's agent, the radio and the safety gate

    def __init__(self, **options: Any) -> None:
        """Make the topics; the simulator is started on configuring.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__(**options)
        n_agents = self.config.team.n_agents
        self._loaded: MissionWorld | None = None
        self._clock_publisher = self.speak(Clock, "/clock", qos.CLOCK, self.CLOCK_READERS)
        self._status = self.speak(WorldStatus, "team_status", qos.TEAM_STATUS, _STATUS_READERS)
        self._consumers = self.speak(ConsumerArray, "consumers", qos.TICK_STATE, n_agents + 1, by_drones=True)
        self._odometry, self._stock = [], []
        for k in range(n_agents):
            self._odometry.append(self.speak(Odometry, f"drone_{k}/odom", qos.TICK_STATE, self.ODOMETRY_READERS, k))
            self._stock.append(self.speak(Stock, f"drone_{k}/stock", qos.TICK_STATE, drone=k))
            self.link_setpoints(k)
        self.follow_faults()
        self.create_service(StartWorld, "~/start", self._on_start)

    def link_setpoints(self, drone: int) -> None:
        """Hear what a drone is to do."""
        self.hear(Setpoint, f"drone_{drone}/setpoint", partial(self._on_setpoint, drone), qos.COMMAND, drone=drone)

    # Lifecycle.

    def prepare(self) -> None:
        """Start the simulator."""
        self._loaded = MissionWorld(self.config)

    def release(self) -> None:
        """Give the simulator back."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    @property
    def _world(self) -> MissionWorld:
        if self._loaded is None:
            raise RuntimeError("configure the world before using it")
        return self._loaded

    def vital_signs(self) -> dict[str, object]:
        """How the ticks go."""
        if not self.running:
            return {}
        wall_s = time.monotonic() - self.began_s
        return {
            "tick": self.tick,
            "late_ticks": self.late_ticks,
            "real_time_factor": round(self.tick * self.dt_s / max(wall_s, 1e-9), 3),
        }

    # A mission.

    def _on_start(self, request: StartWorld.Request, response: StartWorld.Response) -> StartWorld.Response:
        if refusal := self.refusal("world"):
            response.message = refusal
            return response
        try:
            self.reset_world(request.seed)
        except UserError as error:
            response.message = str(error)
            return response
        self.begin_mission(request)
        self._velocity = np.zeros((self.config.team.n_agents, 3))
        for drone in self.lost:
            self._world.fail_agent(drone)
        self.announce()
        response.success = True
        return response

    def reset_world(self, seed: int) -> None:
        """Begin the mission of a seed.

        Raises:
            UserError: its layout cannot be made.
        """
        self._world.reset(seed)

    def tell(self) -> None:
        """Publish a tick: first the time, then the team, then what each drone perceives."""
        self._setpoints: set[int] = set()
        state = self._world.state
        stamp, motion = stamp_of(self.tick, self.dt_s), self._world.motion
        self._clock_publisher.publish(Clock(clock=stamp))
        status = status_message(self.tick, stamp, state, motion.position)
        status.reward_terms, status.reward = list(self._world.reward), list(self._world.reward.values())
        status.seed, status.late_ticks = self.seed, self.late_ticks
        status.delivered_fraction = self._figures()["delivered_fraction"]
        status.done = self._world.done or self.tick >= self.last_tick or not state.alive.any()
        if status.done:
            status.metrics = json.dumps(self._final_figures())
            self.end()
        self._status.publish(status)
        if status.done:
            return
        self._consumers.publish(consumers_message(self.tick, stamp, state, self.config))
        for k, (odometry, stock) in enumerate(zip(self._odometry, self._stock, strict=True)):
            stock.publish(stock_message(self.tick, stamp, state.stock[0, k]))
            name = f"drone_{k}/base_link"
            odometry.publish(odometry_message(name, stamp, motion.position[k], motion.velocity[k], motion.attitude[k]))

    def advance(self) -> None:
        """Fly one tick with the setpoints that are there."""
        alive = self._world.state.alive[0]
        state = self._world.step(self._velocity[:, : self.config.task.dimensions])
        self.tick += 1
        self.announce()
        for drone in np.flatnonzero(alive & ~state.alive[0]):
            text = f"drone {drone} failed at {self.tick * self.dt_s:.1f} s, as its layout has it"
            self.report_fault(Fault.FAILED, int(drone), text)

    def _figures(self) -> dict[str, float]:
        return self._world.metrics.summary()

    def _final_figures(self) -> dict[str, float | None]:
        wall_s, mission_s = time.monotonic() - self.began_s, self.tick * self.dt_s
        figures = {name: round(value, _DIGITS) for name, value in self._figures().items()} | {
            "mission_time_s": round(mission_s, 9),
            "wall_time_s": wall_s,
            "real_time_factor": mission_s / max(wall_s, 1e-9),
            "late_ticks": self.late_ticks,
        }
        figures["collisions"] = int(figures["collisions"])
        del figures["elapsed_s"]  # is mission_time_s
        # JSON knows neither infinity nor "not a number".
        return {name: value if math.isfinite(value) else None for name, value in figures.items()}

    # What ends a tick.

    def _on_setpoint(self, drone: int, message: Setpoint) -> None:
        if not self.running:
            return
        if message.mode == Setpoint.EMERGENCY:
            self._world.cut(drone)
        elif message.mode == Setpoint.LAND:
            self._world.land(drone)
        velocity = message.velocity
        self._velocity[drone] = velocity.x, velocity.y, velocity.z
        if self.config.ros.lockstep and tick_of(message.header.stamp, self.dt_s) == self.tick:
            self._setpoints.add(drone)
            self.answered()

    def on_lost(self, drone: int) -> None:
        """It hovers from now on, and nobody waits for it."""
        if self.running:
            self._world.fail_agent(drone)
            self.advance_if_complete()

    def awaited(self) -> set[int]:
        """Drones that fly and whose setpoint is not there."""
        return set(np.flatnonzero(self._world.state.alive[0]).tolist()) - self._setpoints - self.lost

    @property
    def n_rounds(self) -> int:
        """Those of the policy's deliberation."""
        return n_rounds(self.tick, self.config.policy)


def main() -> int:
    """Run the world."""
    return run(lambda: [WorldNode()])
