"""A Crazyflie over Crazyswarm2's topics and services.

Disarming stops a Crazyflie's motors in the air, too. While it is streamed setpoints it flies no plan, to take off or to
land; when it is told that the stream is over, it flies the plan that was made after the last setpoint, and stops its
motors where there is none. So the plan is made first. Its Mellinger controller, the default of Crazyswarm2, follows
no velocities, so it is streamed a position that moves on a short leash unless the server says that it has another.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Duration
from crazyflie_interfaces.msg import FullState, Status, VelocityWorld
from crazyflie_interfaces.srv import Arm, Land, NotifySetpointsStop, Takeoff
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import Header
from std_srvs.srv import Empty

from sortie_flight.crazyswarm2_hearing import Hearing
from sortie_flight.crazyswarm2_server import Crazyswarm2Server
from sortie_flight.vehicle import Mode, Repeat, Setpoint, Vehicle, VehicleError, VehicleState
from sortie_nodes import qos
from sortie_nodes.conversions import WORLD_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from rclpy.client import Client
    from rclpy.node import Node
    from rclpy.task import Future

    Vector = NDArray[np.float64]

_SERVICES: dict[str, type] = {
    "emergency": Empty,
    "takeoff": Takeoff,
    "land": Land,
    "notify_setpoints_stop": NotifySetpointsStop,
    "arm": Arm,
}
_REPEAT_S, _EMERGENCY_REPEAT_S = 1.0, 0.2
_LANDED_M = 0.03
"""Height at which a plan to land ends, m; the motors stop there."""
_CLIMB_MPS, _DESCENT_MPS = 0.5, 0.4
_LEASH_M = 0.5
"""A streamed position is at most this far from the drone, m."""
_ARMS_ITSELF = "its firmware arms by itself, also after a reboot: it counts as armed wherever it stands upright"
_PAUSE_S = 0.1
"""No setpoint is under way any more so long after the last one, s: it would undo a plan that is made meanwhile."""
_LATE_S, _NEAR_M, _STILL_MPS = 2.0, 0.3, 0.05
"""Who is so near to the ground and moves no more so long after it should have landed, s, stands on something."""
_STEP_S = 0.1
"""A streamed position moves on for at most so long from one call to the next, s."""


class Crazyswarm2Vehicle(Vehicle):
    """One Crazyflie of a Crazyswarm2 server.

    Args:
        node: whose topics and clients it uses; whoever owns it spins it.
        address: the Crazyflie's name, e.g. cf1.
        origin: [3] m, where the origin of its own local frame lies in the world.
        drone: its number.
    """

    def __init__(self, node: Node, address: str, origin: tuple[float, float, float], drone: int) -> None:
        """Nothing is opened yet."""
        self._node, self._name, self._drone = node, address, drone
        self._origin = np.array(origin, np.float64)
        self._clients: dict[str, Client] = {}
        self._opened = False
        self._asked: dict[str, Future] = {}
        self._often, self._at_once = Repeat(_REPEAT_S), Repeat(_EMERGENCY_REPEAT_S)
        self._armed = False  # by what services have answered, for where no status tells
        self._lifted = False  # it has been in the air since it last stood by order
        self._boots = 0  # when it last stood by order
        self._cut = False
        self._reference: Vector | None = None  # [3] m, local frame: where a stream of setpoints is, while there is one
        self._streamed_s = self._down_by_s = 0.0

    # The interface.

    @staticmethod
    def check(address: str) -> None:
        """See `Vehicle`."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", address):
            raise VehicleError(f"flight.address: {address!r} is no name of a Crazyflie; take one of crazyflies.yaml")

    def open(self) -> None:
        """Make topics and clients, see `Vehicle.open`."""
        self.check(self._name)
        node, name = self._node, self._name
        self._server = Crazyswarm2Server(node, name)
        self._heard = Hearing(node, name, ground_m=-self._origin[2])
        self._full_state = node.create_publisher(FullState, f"/{name}/cmd_full_state", qos.COMMAND)
        self._world_velocity = node.create_publisher(VelocityWorld, f"/{name}/cmd_velocity_world", qos.COMMAND)
        self._clients = {each: node.create_client(kind, f"/{name}/{each}") for each, kind in _SERVICES.items()}
        self._opened = True

    def close(self) -> None:
        """Take topics and clients down, see `Vehicle.close`."""
        if not self._opened:
            return
        self._opened = False
        self._server.close()
        self._heard.close()
        for publisher in (self._full_state, self._world_velocity):
            self._node.destroy_publisher(publisher)
        for client in self._clients.values():
            self._node.destroy_client(client)

    @property
    def ready(self) -> bool:
        """The server has made all there is; before that, nothing is told and nothing but an emergency is sent."""
        return self._opened and self._server.ready

    def state(self) -> VehicleState:
        """The newest that is known, see `Vehicle.state`."""
        self._look()
        if not self.ready:
            return VehicleState()
        state = self._heard.state(self._origin)
        return replace(state, armed=self._is_armed, locked=state.locked or self._cut)

    def command(self, setpoint: Setpoint) -> None:
        """Do something for what the drone should be doing, see `Vehicle.command`."""
        self._look()
        self._cut |= setpoint.mode is Mode.EMERGENCY
        if not self._opened:
            return
        if self._cut:
            self._stop_motors()
        elif self.ready:
            self._do(setpoint)

    def _look(self) -> None:
        if not self._opened:
            return
        self._server.look()
        self.capabilities = found = self._server.capabilities
        if self._heard.has(Status.SUPERVISOR_INFO_AUTO_ARM):
            self.capabilities = replace(found, arm=False, remarks=(*found.remarks, _ARMS_ITSELF))
        if self.ready and not self._server.poses:
            self._heard.hear_transforms()

    # What is sent.

    def _do(self, setpoint: Setpoint) -> None:
        airborne = self._heard.airborne
        self._lifted |= airborne
        if setpoint.mode in (Mode.GROUND, Mode.ARM) and not airborne:
            self._lifted, self._boots, self._reference = False, self._heard.boots, None
        if setpoint.mode is not Mode.LAND or not self._down_by_s:
            self._down_by_s = time.monotonic() + self._descent_s + _LATE_S
        self._heard.kept_up = self._lifted and setpoint.mode in (Mode.TAKE_OFF, Mode.FOLLOW)
        match setpoint.mode:
            case Mode.GROUND if not airborne:
                self._disarm()
            case Mode.ARM:
                self._arm()
            case Mode.TAKE_OFF if self._reference is None:
                self._take_off(setpoint.height_m)
            case Mode.TAKE_OFF:
                self._stream(np.zeros(3))
            case Mode.FOLLOW:
                self._stream(setpoint.velocity)
            case Mode.GROUND | Mode.LAND:
                self._land()

    @property
    def _is_armed(self) -> bool:
        return self._heard.armed if self._heard.told else self._armed

    @property
    def _may_fly(self) -> bool:
        """It is armed, and is not one that arms itself after it has started anew in flight."""
        return self._heard.boots == self._boots and (self._is_armed or not self.capabilities.arm)

    def _set_armed(self, armed: bool) -> None:
        self._armed = armed

    def _arm(self) -> None:
        if self.capabilities.arm and not self._is_armed and not self._heard.bad:
            self._call("arm", Arm.Request(arm=True), partial(self._set_armed, True))

    def _disarm(self) -> None:
        """Only where it is known to stand."""
        if not self.capabilities.arm:
            self._armed = False
        elif self._is_armed and self._heard.stands:
            self._call("arm", Arm.Request(arm=False), partial(self._set_armed, False))

    def _take_off(self, height_m: float) -> None:
        if not self._lifted and self._may_fly:
            duration = _duration(max(height_m / _CLIMB_MPS, 1.0))
            request = Takeoff.Request(height=height_m - self._origin[2], duration=duration)
            self._call("takeoff", request, partial(self._set_armed, True))

    @property
    def _descent_s(self) -> float:
        return max(float(np.nan_to_num(self._heard.height_m, nan=1.0)) / _DESCENT_MPS, 1.0)

    def _land(self) -> None:
        request = Land.Request(height=_LANDED_M - self._origin[2], duration=_duration(self._descent_s))
        if self._reference is not None:
            if time.monotonic() - self._streamed_s > _PAUSE_S:
                self._call("land", request, self._end_stream)
        elif self._heard.stands:
            self._disarm()
        elif not self._heard.low and not self._rests:
            # Again and again: one that lands already takes no notice, but one that has landed would start its motors.
            self._call("land", request)

    @property
    def _rests(self) -> bool:
        """It has come down on something that is higher than the ground, or its height is not right."""
        still = abs(float(self._heard.velocity[2])) < _STILL_MPS
        return time.monotonic() > self._down_by_s and self._heard.height_m < _NEAR_M and still

    def _end_stream(self) -> None:
        """It has a plan to land: it may know that the stream is over."""
        request = NotifySetpointsStop.Request(remain_valid_millisecs=100)
        self._call("notify_setpoints_stop", request, self._stream_ended)

    def _stream_ended(self) -> None:
        self._reference = None

    def _stop_motors(self) -> None:
        self._call("emergency", Empty.Request(), partial(self._set_armed, False), self._at_once)
        if self.ready and not self.capabilities.emergency:
            self._land()  # the nearest to it that such a server can do

    def _stream(self, velocity: Vector) -> None:
        """Stream a velocity [3] m/s, or a position that moves with it; to one in the air, not to start motors."""
        if not (self._lifted and self._may_fly):
            return
        now_s, position = time.monotonic(), self._heard.position
        if self._reference is None or not np.isfinite(self._reference).all():
            self._reference, self._streamed_s = position, now_s
        ahead = self._reference + velocity * min(now_s - self._streamed_s, _STEP_S) - position
        self._reference = position + ahead * min(1.0, _LEASH_M / max(float(np.linalg.norm(ahead)), 1e-9))
        self._streamed_s = now_s
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=WORLD_FRAME)
        x, y, z = map(float, velocity)
        if self.capabilities.velocity:
            self._world_velocity.publish(VelocityWorld(header=header, vel=Vector3(x=x, y=y, z=z)))
        elif np.isfinite(self._reference).all():
            message = FullState(header=header)
            message.twist.linear = Vector3(x=x, y=y, z=z)
            x, y, z = map(float, self._reference)
            message.pose.position = Point(x=x, y=y, z=z)
            self._full_state.publish(message)

    def _call(
        self, service: str, request: object, then: Callable[[], None] | None = None, repeat: Repeat | None = None
    ) -> None:
        """Send a request where it is time to, and do something once it is answered; the last one is given up."""
        client = self._clients[service]
        if not client.service_is_ready() or not (repeat or self._often).due(service):
            return
        if (last := self._asked.get(service)) and not last.done():
            client.remove_pending_request(last)
        future = self._asked[service] = client.call_async(request)
        if then:
            future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else then())


def _duration(seconds: float) -> Duration:
    whole, rest = divmod(seconds, 1.0)
    return Duration(sec=int(whole), nanosec=int(rest * 1e9))
