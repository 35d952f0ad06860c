"""A node that looks like a Crazyswarm2 server from outside, with simulated Crazyflies in it.

Names, types and qualities of service are those of Crazyswarm2's C++ server, or of its simulation's with `reduced`, and
so is the order in which they are made. What no adapter uses is left out: trajectories, `go_to`, `cmd_hover`,
`cmd_vel_legacy`, motion capture. Parameters tell of controller and collision avoidance, as `crazyflies.yaml` has them.

Faults come on the topic ~/fault as JSON, e.g. ``{"drone": 0, "fault": "silent"}``; see `sortie_peers.peer.spoil`. Other
than here, the topics of a drone that was rebooted are silent until the real server is started again.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from crazyflie_interfaces.msg import FullState, Position, Status, VelocityWorld
from crazyflie_interfaces.srv import Arm, Land, NotifySetpointsStop, Takeoff
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSPresetProfiles
from std_msgs.msg import Header, String
from std_srvs.srv import Empty

from sortie_core.config import UserError, load
from sortie_core.flight_config import FlightConfig
from sortie_flight.crazyswarm2_server import PID, SERVER
from sortie_nodes.params import declare
from sortie_nodes.spinning import run
from sortie_peers.crazyflie_commander import CrazyflieCommander
from sortie_peers.flight_stack import CRAZYFLIE, FLYING, Autopilot, Phase
from sortie_peers.peer import Peer, spoil
from sortie_peers.peer_process import make_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from builtin_interfaces.msg import Duration
    from geometry_msgs.msg import Point, Pose, Vector3
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

_PERIOD_S = 0.01
_MOST_S = 0.1
"""What the machine keeps this process from doing for longer is time lost, not made up for."""
_STATUS_S = 1.0
_PACKETS = 100
"""Packets from one status to the next."""
_LOGGED = 10
"""Depth of the topics that a Crazyflie's log fills, and of those that the simulation's server reads."""
_FIRMWARE = "all.firmware_params"


class CrazyfliePeer(Peer):
    """One simulated Crazyflie of the server.

    Args:
        node: the server.
        autopilot: what flies it.
        name: its name.
        drone: its number.
        origin: [3] m, where the origin of its own local frame lies in the world.
    """

    def __init__(self, node: PeerNode, autopilot: Autopilot, name: str, drone: int, origin: Iterable[float]) -> None:
        """Make its services, then its topics."""
        super().__init__(autopilot, drone)
        self._node, self._name, self._origin = node, name, np.array(list(origin), np.float64)
        self._firmware = CrazyflieCommander(autopilot, self._origin[2])
        self._firmware.pid = node.controller == PID
        self._boot_s = autopilot.booted_s
        self._due_s = {"pose": 0.0, "odom": 0.0, "status": _STATUS_S}
        self._frozen: tuple[Vector, Vector, Vector] | None = None
        serve: list[tuple[type, str, Callable[[Any], None]]] = [
            (Empty, "emergency", self.emergency),
            (Takeoff, "takeoff", self.take_off),
            (Land, "land", self.land),
            (NotifySetpointsStop, "notify_setpoints_stop", self.stop_setpoints),
            (Arm, "arm", self.arm),
        ]
        for kind, service, callback in serve[: -1 if node.reduced else None]:
            node.create_service(kind, f"{name}/{service}", partial(_answer, [callback]))
        listen = [
            (FullState, "cmd_full_state", self._on_full_state),
            (Position, "cmd_position", self._on_position),
            (VelocityWorld, "cmd_velocity_world", self._on_velocity),
        ]
        profile = _LOGGED if node.reduced else QoSPresetProfiles.SYSTEM_DEFAULT.value
        for kind, topic, callback in listen[: 1 if node.reduced else None]:
            node.create_subscription(kind, f"{name}/{topic}", callback, profile)
        kinds = {"odom": Odometry, "pose": PoseStamped, "status": Status}
        self._logs = {
            log: node.create_publisher(kind, f"{name}/{log}", _LOGGED)
            for log, kind in kinds.items()
            if node.period_s[log] < float("inf")
        }

    # What it is told, if it hears it.

    def emergency(self, _: object = None) -> None:
        """Stop the motors, unless this is the simulation's server."""
        if self._node.reduced:
            self._node.get_logger().info(f"[{self._name}] emergency is not implemented")
        elif self.passes():
            self._firmware.stop()

    def arm(self, request: Arm.Request) -> None:
        """Arm, or disarm: the firmware does that in the air, too."""
        if self.passes():
            self._firmware.arm(request.arm)

    def take_off(self, request: Takeoff.Request) -> None:
        """Climb; a height is of the local frame."""
        if self.passes():
            if self._node.reduced:
                self._firmware.arm(True)
            self._firmware.take_off(request.height + self._origin[2], _seconds(request.duration))

    def land(self, _: Land.Request) -> None:
        """Go down; while setpoints are streamed, once the stream has been declared ended."""
        if self.passes():
            self._firmware.land()

    def stop_setpoints(self, _: NotifySetpointsStop.Request) -> None:
        """Declare the stream ended: without a plan, the firmware then stops the motors."""
        if self.passes():
            self._firmware.end_stream()

    def _on_full_state(self, message: FullState) -> None:
        if self.passes():
            self._firmware.follow(_array(message.twist.linear), _array(message.pose.position) + self._origin)

    def _on_position(self, message: Position) -> None:
        if self.passes():
            self._firmware.follow(np.zeros(3), _array(message) + self._origin)

    def _on_velocity(self, message: VelocityWorld) -> None:
        if self.passes():
            self._firmware.follow(_array(message.vel))

    # What it tells.

    def send(self, now_s: float) -> None:
        """Publish what is due, if it gets through."""
        if self.autopilot.booted_s != self._boot_s:
            self._boot_s = self.autopilot.booted_s
            self._firmware.clear()
        for log, publisher in self._logs.items():
            if now_s < self._due_s[log]:
                continue
            self._due_s[log] = max(self._due_s[log] + self._node.period_s[log], now_s)
            if self.passes():
                header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id="world")
                publisher.publish({"pose": self._pose, "odom": self._odometry, "status": self._status}[log](header))

    def _estimate(self) -> tuple[Vector, Vector, Vector]:
        """Position [3] m of the local frame, velocity [3] m/s, attitude xyzw [4]; old ones where it is frozen."""
        autopilot = self.autopilot
        if not self.trouble.frozen or self._frozen is None:
            place = autopilot.position - self._origin
            self._frozen = place, autopilot.velocity.copy(), autopilot.attitude.copy()
        return self._frozen

    def _fill(self, pose: Pose) -> None:
        position, _, attitude = self._estimate()
        pose.position.x, pose.position.y, pose.position.z = map(float, position)
        turn = pose.orientation
        turn.x, turn.y, turn.z, turn.w = map(float, attitude)

    def _pose(self, header: Header) -> PoseStamped:
        message = PoseStamped(header=header)
        self._fill(message.pose)
        return message

    def _odometry(self, header: Header) -> Odometry:
        """With the velocity in the world frame, and the drone's name for a frame, as the server has it."""
        message = Odometry(header=Header(stamp=header.stamp, frame_id=self._name))
        self._fill(message.pose.pose)
        linear = message.twist.twist.linear
        linear.x, linear.y, linear.z = map(float, self._estimate()[1])
        return message

    def _status(self, header: Header) -> Status:
        autopilot = self.autopilot
        bits = {
            Status.SUPERVISOR_INFO_CAN_BE_ARMED: autopilot.phase is Phase.OFF and not autopilot.locked,
            Status.SUPERVISOR_INFO_IS_ARMED: autopilot.armed,
            Status.SUPERVISOR_INFO_CAN_FLY: autopilot.armed,
            Status.SUPERVISOR_INFO_IS_FLYING: autopilot.phase in FLYING,
            Status.SUPERVISOR_INFO_IS_TUMBLED: autopilot.tumbled,
            Status.SUPERVISOR_INFO_IS_LOCKED: autopilot.locked,
        }
        return Status(
            header=header,
            supervisor_info=sum(bit for bit, on in bits.items() if on),
            battery_voltage=autopilot.battery_v,
            rssi=40,
            num_rx_unicast=round(_PACKETS * (1 - self.trouble.loss)),
            num_tx_unicast=_PACKETS,
            latency_unicast=4,
        )

    # What a peer with a socket has; here the executor waits.

    def fileno(self) -> int:
        """No socket."""
        return -1

    def receive(self, now_s: float) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is open."""


class PeerNode(Node):
    """The server, for all drones of a configuration that Crazyswarm2 flies."""

    def __init__(self, **options: Any) -> None:
        """Make all there is, and fly from now on.

        Raises:
            UserError: the configuration cannot be read, or Crazyswarm2 flies none of its drones.
        """
        super().__init__(SERVER, **options)
        path = declare(self, "config_file", "", "YAML file of a flight, see configs/flight/")
        overrides = declare(self, "overrides", [""], "changes to it, each as section.key=value")
        config = load(FlightConfig, path, [item for item in overrides if item])
        drones = config.adapters.get("crazyswarm2", ())
        if not drones:
            raise UserError("flight.adapter: no drone is flown by crazyswarm2")
        self.reduced = declare(self, "reduced", False, "be like Crazyswarm2's simulation: without arm, status, ...")
        rates = {log: declare(self, f"{log}_hz", rate, "1/s; 0 = none") for log, rate in (("pose", 50), ("odom", 0))}
        self.period_s = {log: 1 / rate if rate else float("inf") for log, rate in rates.items()}
        self.period_s["status"] = float("inf") if self.reduced else _STATUS_S
        self.controller = declare(self, f"{_FIRMWARE}.stabilizer.controller", 2, "1: PID, 2: Mellinger")
        declare(self, f"{_FIRMWARE}.colAv.enable", 0, "1: the firmware keeps drones apart")
        self._stack = make_stack(config, drones, CRAZYFLIE)
        self._peers = {
            k: CrazyfliePeer(self, autopilot, config.place(k).address, k, config.place(k).origin)
            for k, autopilot in zip(drones, self._stack.autopilots, strict=True)
        }
        self.create_subscription(String, "~/fault", self._on_fault, _LOGGED)
        self._serve_all()
        self._last_s = time.monotonic()
        self.create_timer(_PERIOD_S, self._fly)

    def _serve_all(self) -> None:
        """The services for all drones; `emergency` is the last of all, by which a server is known to be ready."""
        peers = self._peers.values()
        self.create_service(Takeoff, "all/takeoff", partial(_answer, [each.take_off for each in peers]))
        self.create_service(Land, "all/land", partial(_answer, [each.land for each in peers]))
        if not self.reduced:
            stop = [each.stop_setpoints for each in peers]
            self.create_service(NotifySetpointsStop, "all/notify_setpoints_stop", partial(_answer, stop))
            self.create_service(Arm, "all/arm", partial(_answer, [each.arm for each in peers]))
        self.create_service(Empty, "all/emergency", partial(_answer, [each.emergency for each in peers]))

    def _fly(self) -> None:
        now_s = time.monotonic()
        self._stack.advance(min(now_s - self._last_s, _MOST_S))
        self._last_s = now_s
        for peer in self._peers.values():
            peer.send(self._stack.now_s)

    def _on_fault(self, message: String) -> None:
        order = json.loads(message.data)
        spoil(self._peers[order["drone"]], order["fault"], order.get("value", 0.0))


def _answer(obey: Sequence[Callable[[Any], None]], request: Any, response: Any) -> Any:
    """A service: as the server does, it answers once it has passed the request on, whatever becomes of it."""
    for each in obey:
        each(request)
    return response


def _array(vector: Point | Vector3 | Position) -> Vector:
    return np.array([vector.x, vector.y, vector.z])


def _seconds(duration: Duration) -> float:
    return duration.sec + 1e-9 * duration.nanosec


def main() -> int:
    """Serve simulated Crazyflies."""
    return run(lambda: [PeerNode()])


if __name__ == "__main__":
    sys.exit(main())
