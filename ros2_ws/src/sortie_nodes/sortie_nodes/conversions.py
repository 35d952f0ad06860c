"""Between ROS messages and the domain's types.

The world frame is ENU. Positions in messages are where a drone is in space, z up from the ground; positions in the
domain's types are those of the allocation problem, with task.dimensions axes and the arena's centre as origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, TwistStamped
from nav_msgs.msg import Odometry
from sortie_interfaces.msg import Claim, Consumer, ConsumerArray, Frame, Setpoint, Stock, Task, WorldStatus
from sortie_interfaces.msg import HandOver as HandOverMsg
from sortie_interfaces.msg import Packet as PacketMsg
from std_msgs.msg import Header

from sortie_core.delivery import presence_settled
from sortie_core.packets import Consumers, Decision, HandOver, LocalView, Packet, QueuedTask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from sortie_core.config import Config
    from sortie_core.state import WorldState

    Vector = NDArray[np.floating]

WORLD_FRAME = "world"


def stamp_of(tick: int, dt_s: float) -> Time:
    """Mission time of a tick."""
    seconds, nanoseconds = divmod(round(tick * dt_s * 1e9), 10**9)
    return Time(sec=seconds, nanosec=nanoseconds)


def seconds_of(stamp: Time) -> float:
    """Mission time in s."""
    return stamp.sec + stamp.nanosec * 1e-9


def tick_of(stamp: Time, dt_s: float) -> int:
    """The tick that a stamp belongs to."""
    return round(seconds_of(stamp) / dt_s)


def centre_height_m(config: Config) -> float:
    """Height of the allocation problem's origin above the ground, m: it flattens to the flight altitude in 2-D."""
    flat = config.task.dimensions == 2
    return config.world.altitude_m + (0.0 if flat else config.arena_half_m)


def packet_message(packet: Packet) -> PacketMsg:
    """A packet for comm/tx."""
    message = PacketMsg(sender=packet.sender, tick=packet.tick, round=packet.round)
    # A numpy array in place of a list spares rclpy the check of every element.
    message.payload.frombytes(np.ascontiguousarray(packet.payload, np.float32).tobytes())
    return message


def packet_from(message: PacketMsg) -> Packet:
    """A packet as the domain knows it."""
    return Packet(message.sender, message.tick, message.round, np.array(message.payload, np.float32))


def frame_message(tick: int, round_: int, packets: Iterable[PacketMsg]) -> Frame:
    """What one receiver hears in one round."""
    return Frame(tick=tick, round=round_, packets=list(packets))


def motion_of(message: Odometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position [3] m and velocity [3] m/s of an odometry, both in the world frame, as float64."""
    at, turn, linear = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist.linear
    velocity = _rotated((turn.x, turn.y, turn.z, turn.w), (linear.x, linear.y, linear.z))
    return np.array([at.x, at.y, at.z]), np.array(velocity)


def _rotated(turn: tuple[float, ...], vector: tuple[float, ...]) -> tuple[float, float, float]:
    """A vector turned by a unit quaternion xyzw: ``v + w t + q x t`` with ``t = 2 q x v``."""
    qx, qy, qz, qw = turn
    vx, vy, vz = vector
    tx, ty, tz = 2 * (qy * vz - qz * vy), 2 * (qz * vx - qx * vz), 2 * (qx * vy - qy * vx)
    return (
        vx + qw * tx + qy * tz - qz * ty,
        vy + qw * ty + qz * tx - qx * tz,
        vz + qw * tz + qx * ty - qy * tx,
    )


def local_view(odometry: Odometry, stock: Stock, consumers: ConsumerArray, config: Config) -> LocalView:
    """What one agent knows by itself, from the three messages of one tick."""
    position, velocity = motion_of(odometry)
    position[2] -= centre_height_m(config)
    dimensions = config.task.dimensions
    return LocalView(
        tick=stock.tick,
        time_s=seconds_of(stock.header.stamp),
        position=position[:dimensions].astype(np.float32),
        velocity=velocity[:dimensions].astype(np.float32),
        stock=np.array(stock.amount, np.float32),
        consumers=consumers_from(consumers, config),
        running_s=tuple(stock.running),
        taken_from=tuple(stock.taken_from),
    )


def consumers_from(message: ConsumerArray, config: Config) -> Consumers:
    """The broadcast demands."""
    each = message.consumers
    height_m = centre_height_m(config)
    position = np.array([[c.position.x, c.position.y, c.position.z - height_m] for c in each], np.float32)
    return Consumers(
        position=position.reshape(-1, 3)[:, : config.task.dimensions],
        demand=np.array([c.demand for c in each], np.float32),
        unmet=np.array([c.unmet for c in each], np.float32),
        active=np.array([c.active for c in each], bool),
        completed=np.array([c.completed for c in each], bool),
        settled=np.array([c.settled for c in each], bool),
        presence=np.array(message.presence, bool),
        tasks=tuple(tuple(map(_task_from, c.tasks)) for c in each),
    )


def _task_from(message: Task) -> QueuedTask:
    demand = tuple(message.demand)
    been = tuple(message.been)
    return QueuedTask(
        message.number, demand, message.predicted, message.waited, message.placed, message.key, message.hops, been
    )


def task_message(task: QueuedTask) -> Task:
    """A task that waits at a node of a cluster."""
    return Task(
        number=task.number,
        demand=task.demand,
        predicted=task.predicted_s,
        waited=task.waited_s,
        placed=task.placed,
        key=task.key,
        hops=task.hops,
        been=task.been,
    )


def command_message(velocity: Vector, stamp: Time) -> TwistStamped:
    """A velocity [D] m/s, world frame; axes beyond D are zero."""
    message = TwistStamped(header=Header(stamp=stamp, frame_id=WORLD_FRAME))
    linear = message.twist.linear
    linear.x, linear.y, linear.z = (*map(float, velocity), 0.0)[:3]
    return message


def velocity_from(message: TwistStamped) -> NDArray[np.float64]:
    """[3] m/s, world frame."""
    linear = message.twist.linear
    return np.array([linear.x, linear.y, linear.z])


def setpoint_message(mode: int, velocity: Vector, stamp: Time, height_m: float = 0.0) -> Setpoint:
    """What a drone is to do: a mode of Setpoint.msg, a velocity [3] m/s in the world frame, and a height, m."""
    message = Setpoint(header=Header(stamp=stamp, frame_id=WORLD_FRAME), mode=int(mode), height=float(height_m))
    message.velocity.x, message.velocity.y, message.velocity.z = map(float, velocity)
    return message


def claim_message(decision: Decision, stamp: Time) -> Claim:
    """Where a drone goes, for people and recordings; what a cluster's node claims, for the bridge."""
    return Claim(
        header=Header(stamp=stamp, frame_id=WORLD_FRAME),
        choice=decision.choice,
        attention=np.asarray(decision.attention, np.float32).tolist(),
        asks=decision.asks,
        hand_overs=[HandOverMsg(task=task, target=target, key=key) for task, target, key in decision.hand_overs],
    )


def hand_overs_from(message: Claim) -> tuple[HandOver, ...]:
    """Where new tasks go."""
    return tuple(HandOver(each.task, each.target, each.key) for each in message.hand_overs)


def odometry_message(name: str, stamp: Time, position: Vector, velocity: Vector, attitude: Vector) -> Odometry:
    """Odometry of one drone; as nav_msgs has it, the twist is turned into the child frame.

    Args:
        name: child frame.
        stamp: mission time.
        position: [3] m, world frame.
        velocity: [3] m/s, world frame.
        attitude: [4] quaternion xyzw, body to world.
    """
    message = Odometry(header=Header(stamp=stamp, frame_id=WORLD_FRAME), child_frame_id=name)
    at, turn, linear = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist.linear
    x, y, z, w = map(float, attitude)
    at.x, at.y, at.z = map(float, position)
    turn.x, turn.y, turn.z, turn.w = x, y, z, w
    linear.x, linear.y, linear.z = _rotated((-x, -y, -z, w), tuple(map(float, velocity)))
    return message


def stock_message(tick: int, stamp: Time, amount: Vector) -> Stock:
    """What one drone carries, [R]."""
    return Stock(header=Header(stamp=stamp, frame_id=WORLD_FRAME), tick=tick, amount=amount.tolist())


def consumers_message(tick: int, stamp: Time, state: WorldState, config: Config) -> ConsumerArray:
    """All consumers of a state with B = 1."""
    height_m, flat = centre_height_m(config), config.task.dimensions == 2
    consumers = [
        Consumer(
            position=Point(x=float(at[0]), y=float(at[1]), z=height_m + (0.0 if flat else float(at[2]))),
            demand=demand.tolist(),
            unmet=unmet.tolist(),
            active=bool(active),
            completed=bool(completed),
            settled=bool(settled),
        )
        for at, demand, unmet, active, completed, settled in zip(
            state.consumer_position[0],
            state.demand[0],
            state.unmet[0],
            state.active[0],
            state.completed[0],
            presence_settled(state, config)[0],
            strict=True,
        )
    ]
    header = Header(stamp=stamp, frame_id=WORLD_FRAME)
    return ConsumerArray(header=header, tick=tick, presence=state.presence[0].tolist(), consumers=consumers)


def status_message(tick: int, stamp: Time, state: WorldState, position: Vector) -> WorldStatus:
    """The team at a tick.

    Args:
        tick: from 0.
        stamp: its mission time.
        state: with B = 1.
        position: [N, 3] m in space.
    """
    return WorldStatus(
        header=Header(stamp=stamp, frame_id=WORLD_FRAME),
        tick=tick,
        alive=state.alive[0].tolist(),
        position=np.asarray(position, np.float64).ravel().tolist(),
        stock=state.stock[0].ravel().tolist(),
        unmet=state.unmet[0].ravel().tolist(),
    )
