"""What a Crazyswarm2 server tells about one of its drones."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from crazyflie_interfaces.msg import Status
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry

from sortie_flight.vehicle import PoseFilter, VehicleState
from sortie_nodes import qos
from sortie_nodes.conversions import seconds_of

try:  # not on PyPI, and only missed beside a server that tells poses in no other way
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None

if TYPE_CHECKING:
    from collections.abc import Callable

    from builtin_interfaces.msg import Time
    from numpy.typing import NDArray
    from rclpy.node import Node

    Vector = NDArray[np.float64]

HEARS_TRANSFORMS = TFMessage is not None
"""Poses can be taken from TF."""
_FRESH_S = 1.5
"""What was told is of now for so long, s; a status comes once a second by default."""
_AIRBORNE_M = 0.1
_SMOOTH_S = 0.1
"""Time constant of a velocity that is worked out from poses, s."""
_SKEW_S = 10.0
"""A stamp that is farther from this machine's clock than this is of another clock, s."""
_TRANSFORMS = 100
"""Depth of the topic /tf, as tf2 has it."""
_CRASHED = 128
"""A bit of supervisor_info that newer firmware sets and the message does not name."""
_MODES = {
    Status.SUPERVISOR_INFO_IS_LOCKED: "locked",
    _CRASHED: "crashed",
    Status.SUPERVISOR_INFO_IS_TUMBLED: "tumbled",
    Status.SUPERVISOR_INFO_IS_FLYING: "flying",
    Status.SUPERVISOR_INFO_IS_ARMED: "armed",
    Status.SUPERVISOR_INFO_CAN_BE_ARMED: "ready",
}
_BAD = Status.SUPERVISOR_INFO_IS_LOCKED | Status.SUPERVISOR_INFO_IS_TUMBLED | _CRASHED


class Hearing:
    """Listens to one drone; positions are in its own local frame, m.

    Args:
        node: whose subscriptions it makes.
        name: of the Crazyflie.
        ground_m: height of the ground in the local frame, m.

    Attributes:
        position: [3] m; nan before the first.
        velocity: [3] m/s; nan before the second.
        kept_up: it is told to be in the air; who listens has to say so.
        boots: how often it was disarmed by nobody then, which is what starting anew looks like.
    """

    def __init__(self, node: Node, name: str, ground_m: float) -> None:
        """Nothing is heard yet."""
        self.position, self.velocity = np.full(3, math.nan), np.full(3, math.nan)
        self.kept_up, self.boots = False, 0
        self._node, self._name, self._ground_m = node, name, ground_m
        self._attitude = np.array([0.0, 0.0, 0.0, 1.0])
        self._measured_s = self._heard_s = self._odometry_s = self._status_s = -math.inf
        self._latency_s = math.nan
        self._status: Status | None = None
        self._filter = PoseFilter()
        self._subscriptions: list[Any] = []
        self._hear(PoseStamped, f"/{name}/pose", self._on_pose)
        self._hear(Odometry, f"/{name}/odom", self._on_odometry)
        self._hear(Status, f"/{name}/status", self._on_status)
        self._hears_transforms = False

    def _hear(self, kind: type, topic: str, callback: Callable[[Any], None], profile: Any = qos.TICK_STATE) -> None:
        self._subscriptions.append(self._node.create_subscription(kind, topic, callback, profile))

    def hear_transforms(self) -> None:
        """Take poses from TF, where that is to be had."""
        if HEARS_TRANSFORMS and not self._hears_transforms:
            self._hears_transforms = True
            self._hear(TFMessage, "/tf", self.on_transforms, _TRANSFORMS)

    def close(self) -> None:
        """Hear nothing more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    # What follows from what was heard.

    def has(self, bits: int) -> bool:
        """Whether the newest status has one of these bits."""
        return self._status is not None and bool(self._status.supervisor_info & bits)

    @property
    def told(self) -> bool:
        """There was a status, ever."""
        return self._status is not None

    @property
    def bad(self) -> bool:
        """It says that it will not fly."""
        return self.has(_BAD)

    @property
    def armed(self) -> bool:
        """It says that it is armed."""
        return self.has(Status.SUPERVISOR_INFO_IS_ARMED)

    @property
    def height_m(self) -> float:
        """Above the ground, m; nan where that is not known for now."""
        fresh = time.monotonic() - self._measured_s < _FRESH_S
        return float(self.position[2] - self._ground_m) if fresh else math.nan

    @property
    def low(self) -> bool:
        """It is known to be on the ground or next to it."""
        return self.height_m <= _AIRBORNE_M

    @property
    def airborne(self) -> bool:
        """It is known to be off the ground."""
        return bool(self.height_m > _AIRBORNE_M) or (self._status_fresh and self.has(Status.SUPERVISOR_INFO_IS_FLYING))

    @property
    def stands(self) -> bool:
        """It is known to be on the ground, which is not what remains where it is not known to fly."""
        return not self.airborne and (math.isfinite(self.height_m) or self._status_fresh)

    def state(self, origin: Vector) -> VehicleState:
        """All of it, in the world.

        Args:
            origin: [3] m, where the origin of the local frame lies.
        """
        status = self._status
        sent = status.num_tx_unicast if status else 0
        mode = next((name for bit, name in _MODES.items() if self.has(bit)), "")
        return VehicleState(
            measured_s=self._measured_s,
            latency_s=self._latency_s,
            position=self.position + origin,
            velocity=self.velocity.copy(),
            attitude=self._attitude.copy(),
            heard_s=self._heard_s,
            armed=self.armed,
            airborne=self.airborne,
            locked=self.bad,
            battery_v=status.battery_voltage if status else math.nan,
            link=min(status.num_rx_unicast / sent, 1.0) if status and sent else math.nan,
            boots=self.boots,
            mode=mode,
            failsafe=mode if self.bad else "",
        )

    @property
    def _status_fresh(self) -> bool:
        return time.monotonic() - self._status_s < _FRESH_S

    # Topics.

    def _on_pose(self, message: PoseStamped) -> None:
        if time.monotonic() - self._odometry_s > _FRESH_S:
            self._moved(message.header.stamp, message.pose.position, message.pose.orientation)

    def _on_odometry(self, message: Odometry) -> None:
        """Unlike nav_msgs has it, its twist is in the frame of the position: the server passes on the estimate's."""
        self._odometry_s = time.monotonic()
        pose, linear = message.pose.pose, message.twist.twist.linear
        velocity = np.array([linear.x, linear.y, linear.z])
        self._moved(message.header.stamp, pose.position, pose.orientation, velocity)

    def on_transforms(self, message: Any) -> None:
        """Of all drones, and of other things."""
        for each in message.transforms:
            if each.child_frame_id == self._name:
                self._moved(each.header.stamp, each.transform.translation, each.transform.rotation)

    def _moved(self, stamp: Time, at: Any, turn: Any, velocity: Vector | None = None) -> None:
        """A pose, with its velocity [3] m/s where that is told."""
        position, now_s, stamp_s = np.array([at.x, at.y, at.z]), time.monotonic(), seconds_of(stamp)
        self._heard_s = now_s
        # Where it was last, however long ago: an estimate that stands still in the air is none then, either.
        if not self._filter.takes(stamp_s, position, bool(self.position[2] - self._ground_m > _AIRBORNE_M)):
            return
        age_s = time.time() - stamp_s
        told = abs(age_s) < _SKEW_S
        # The server stamps what comes out of the radio; half of there and back is the way of the pose.
        radio_s = self._status.latency_unicast * 0.5e-3 if self._status else 0.0
        self._latency_s = max(age_s, 0.0) + radio_s if told else math.nan
        measured_s = now_s - (self._latency_s if told else 0.0)
        if velocity is None:
            velocity = self._differentiated(position, measured_s - self._measured_s)
        self._attitude = np.array([turn.x, turn.y, turn.z, turn.w])
        self.position, self.velocity, self._measured_s = position, velocity, measured_s

    def _differentiated(self, position: Vector, duration_s: float) -> Vector:
        """Velocity [3] m/s from the last position to a new one [3] m, smoothed."""
        if not 0 < duration_s < math.inf:
            return self.velocity
        fresh = (position - self.position) / duration_s
        if not np.isfinite(self.velocity).all():
            return fresh
        return self.velocity + (fresh - self.velocity) * (duration_s / (duration_s + _SMOOTH_S))

    def _on_status(self, message: Status) -> None:
        was_armed = self.armed
        self._status, self._status_s = message, time.monotonic()
        self._heard_s = self._status_s
        # The firmware disarms no drone in the air by itself but one that it locks.
        self.boots += self.kept_up and was_armed and not self.armed and not self.bad
