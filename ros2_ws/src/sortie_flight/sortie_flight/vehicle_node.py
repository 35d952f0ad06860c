"""Hosts the vehicles of one adapter: passes setpoints on to them, and what they tell to the graph."""

from __future__ import annotations

import math
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.time import Time
from sortie_interfaces.msg import Setpoint as SetpointMsg
from sortie_interfaces.msg import VehicleStatus

from sortie_core.config import UserError
from sortie_flight.adapters import vehicle_kind
from sortie_flight.simulated_vehicle import SimulatedFleet
from sortie_flight.vehicle import Mode, Setpoint, Vehicle, VehicleError
from sortie_nodes import qos
from sortie_nodes.conversions import odometry_message
from sortie_nodes.managed_node import ManagedNode
from sortie_nodes.params import declare
from sortie_nodes.spinning import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.flight_config import FlightConfig

_STATUS_S = 0.1
_INTERVALS = 500
_DOWN_S = 8.0
"""Whoever ends this process waits so long at most for its drones to be on the ground, s."""
_HEARD_S = 1.0
"""What is known of a drone that has been silent for longer is no word on where it is, s."""
_SETTLED_S = 0.5
"""Who is down for so long, s, is not about to leave the ground, and everybody has been told."""


class Hosted:
    """One vehicle, and what was last passed on to it.

    Attributes:
        drone: its number.
        vehicle: it.
        setpoint: the newest.
        heard_s: when that came, monotonic clock, s.
        intervals: between setpoints that were passed on, s.
        count: how many were.
        told_s: when the pose was measured that was last published, s.
    """

    def __init__(self, drone: int, vehicle: Vehicle) -> None:
        self.drone, self.vehicle = drone, vehicle
        self.setpoint = Setpoint(Mode.GROUND)
        self.heard_s = -math.inf
        self.intervals: deque[float] = deque(maxlen=_INTERVALS)
        self.count = 0
        self.told_s = -math.inf

    def take(self, setpoint: Setpoint) -> None:
        """Pass a setpoint on."""
        now_s = time.monotonic()
        if self.count:
            self.intervals.append(now_s - self.heard_s)
        self.setpoint, self.heard_s, self.count = setpoint, now_s, self.count + 1
        self.vehicle.command(setpoint)

    def down(self, now_s: float) -> bool:
        """Nothing is left to do for one that is told to land: it is known to stand, or its motors are cut."""
        state = self.vehicle.state()
        if self.setpoint.mode is Mode.EMERGENCY:
            return not state.armed
        heard = now_s - state.heard_s < _HEARD_S or state.heard_s == -math.inf
        return self.setpoint.mode is not Mode.LAND or (heard and not state.airborne)


class VehicleNode(ManagedNode):
    """The vehicles of one adapter, all in one process, since they may share a radio.

    A drone whose gate falls silent for safety.stale_after_s holds its position; after safety.land_after_s it lands.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics; links are opened on configuring.

        Raises:
            UserError: the configuration cannot be read, or no drone is flown by the adapter.
        """
        super().__init__("vehicles", **options)
        self.adapter = declare(self, "adapter", "", "mavlink, cflib, crazyswarm2 or simulated")
        self._flight_config = cast("FlightConfig", self.config)
        self._drones = self._flight_config.adapters.get(self.adapter, ())
        if not self._drones:
            raise UserError(f"{self.get_fully_qualified_name()}: no drone is flown by adapter {self.adapter!r}")
        self._hosted: list[Hosted] = []
        self._down_by_s = self._down_since_s = math.inf
        self._odometry, self._status = {}, {}
        for k in self._drones:
            self.hear(SetpointMsg, f"drone_{k}/setpoint", partial(self._on_setpoint, k), qos.COMMAND, drone=k)
            self._odometry[k] = self.speak(Odometry, f"drone_{k}/vehicle/odom", qos.TICK_STATE, 2, drone=k)
            self._status[k] = self.speak(VehicleStatus, f"drone_{k}/vehicle/status", qos.COMMAND, drone=k)
        self.wall_timer(1.0 / self._flight_config.flight.setpoint_hz, self._poll)
        self.wall_timer(_STATUS_S, self._report)

    # Lifecycle.

    def prepare(self) -> None:
        """Open the links.

        Raises:
            UserError: one cannot be opened.
        """
        if self._hosted:
            return
        vehicles = self._vehicles()
        for drone, vehicle in zip(self._drones, vehicles, strict=True):
            try:
                vehicle.open()
            except VehicleError as error:
                raise UserError(f"drone {drone}: {error}") from None
        self._hosted = [Hosted(drone, each) for drone, each in zip(self._drones, vehicles, strict=True)]

    def _vehicles(self) -> Sequence[Vehicle]:
        config = self._flight_config
        if self.adapter == "simulated":
            return SimulatedFleet(config, self._drones).vehicles
        kind: Any = vehicle_kind(self.adapter)
        graph = (self,) if self.adapter == "crazyswarm2" else ()  # it speaks by topics and services
        places = [(config.place(drone), drone) for drone in self._drones]
        return [kind(*graph, place.address, place.origin, drone) for place, drone in places]

    def release(self) -> None:
        """Links stay open: drones may still be told to land."""

    def may_end(self) -> bool:
        """Land whoever is in the air; nothing but an emergency is listened to any more. Whether all are down."""
        now_s = time.monotonic()
        if self._down_by_s == math.inf:
            self._down_by_s = now_s + _DOWN_S
            for each in self._hosted:
                mode = each.setpoint.mode
                if mode in (Mode.ARM, Mode.TAKE_OFF, Mode.FOLLOW) or (
                    mode is Mode.GROUND and each.vehicle.state().airborne
                ):
                    each.setpoint = Setpoint(Mode.LAND)
        down = all(each.down(now_s) for each in self._hosted)
        self._down_since_s = min(self._down_since_s, now_s) if down else math.inf
        return now_s > self._down_by_s or now_s - self._down_since_s > _SETTLED_S

    def destroy_node(self) -> None:
        """Close the links."""
        for each in self._hosted:
            each.vehicle.close()
        super().destroy_node()

    def vital_signs(self) -> dict[str, object]:
        """How regularly setpoints are passed on."""
        pooled = [interval for each in self._hosted for interval in each.intervals]
        if not pooled:
            return {}
        p50, p99 = np.percentile(pooled, (50, 99))
        return {"setpoint_interval_ms_p50": round(1e3 * p50, 3), "setpoint_interval_ms_p99": round(1e3 * p99, 3)}

    # The stream.

    def _on_setpoint(self, drone: int, message: SetpointMsg) -> None:
        hosted = next((each for each in self._hosted if each.drone == drone), None)
        ends = self._down_by_s < math.inf or (hosted and hosted.setpoint.mode is Mode.EMERGENCY)
        if hosted is None or (ends and message.mode != Mode.EMERGENCY):
            return
        velocity = np.array([message.velocity.x, message.velocity.y, message.velocity.z])
        hosted.take(Setpoint(Mode(message.mode), velocity, message.height))

    def _poll(self) -> None:
        now_s, safety = time.monotonic(), self.config.safety
        for each in self._hosted:
            silent_s = now_s - each.heard_s
            airborne = each.setpoint.mode in (Mode.TAKE_OFF, Mode.FOLLOW)
            if airborne and silent_s > safety.land_after_s:
                each.setpoint = Setpoint(Mode.LAND)
                self.get_logger().error(f"no setpoint for drone {each.drone} in {silent_s:.1f} s: it is landed")
            if each.setpoint.mode is Mode.FOLLOW and silent_s > safety.stale_after_s:
                each.vehicle.command(Setpoint(Mode.FOLLOW))
            elif each.setpoint.mode in (Mode.LAND, Mode.EMERGENCY) and (
                silent_s > safety.stale_after_s or self._down_by_s < math.inf
            ):
                each.vehicle.command(each.setpoint)
            self._tell(each)

    def _tell(self, each: Hosted) -> None:
        """Publish a pose that is new."""
        state = each.vehicle.state()
        if state.measured_s <= each.told_s:
            return
        each.told_s = state.measured_s
        age_ns = int(1e9 * (time.monotonic() - state.measured_s))
        stamp = Time(nanoseconds=self.get_clock().now().nanoseconds - age_ns).to_msg()
        message = odometry_message(
            f"drone_{each.drone}/base_link", stamp, state.position, state.velocity, state.attitude
        )
        self._odometry[each.drone].publish(message)

    def _report(self) -> None:
        now_s = time.monotonic()
        for each in self._hosted:
            state, can = each.vehicle.state(), each.vehicle.capabilities
            status = VehicleStatus(
                drone=each.drone,
                adapter=self.adapter,
                silent=now_s - state.heard_s,
                armed=state.armed,
                airborne=state.airborne,
                locked=state.locked,
                can_arm=can.arm,
                battery=state.battery_v,
                link=state.link,
                latency=state.latency_s,
                boots=state.boots,
                mode=state.mode,
                failsafe=state.failsafe,
                remarks=list(can.remarks),
                setpoints=each.count,
            )
            status.header.stamp = self.get_clock().now().to_msg()
            if each.intervals:
                status.interval_p50, status.interval_p99 = map(float, np.percentile(each.intervals, (50, 99)))
            self._status[each.drone].publish(status)


def main() -> int:
    """Run the vehicles of one adapter."""
    return run(lambda: [VehicleNode()])
