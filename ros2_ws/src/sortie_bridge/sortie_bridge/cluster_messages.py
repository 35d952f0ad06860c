"""A cluster in the messages that agents of the graph understand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Point
from sortie_interfaces.msg import Consumer, ConsumerArray, Stock, TaskRun, TaskRuns, WorldStatus
from std_msgs.msg import Header

from sortie_nodes.conversions import WORLD_FRAME, odometry_message, task_message

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from nav_msgs.msg import Odometry
    from numpy.typing import NDArray

    from sortie_bridge.task_ledger import TaskLedger

_AT_REST = np.zeros(3)
_UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


def _header(stamp: Time) -> Header:
    return Header(stamp=stamp, frame_id=WORLD_FRAME)


def queues_message(tick: int, stamp: Time, ledger: TaskLedger, now_s: float) -> ConsumerArray:
    """Each node's queue as a consumer where the node stands; its demand is what the waiting tasks ask for."""
    consumers = [
        Consumer(
            position=Point(x=float(at[0]), y=float(at[1]), z=0.0),
            demand=asked.tolist(),
            unmet=asked.tolist(),
            active=True,
            tasks=[task_message(task) for task in ledger.queue(node, now_s)],
        )
        for node, (at, asked) in enumerate(zip(ledger.cluster.position, ledger.waiting(), strict=True))
    ]
    return ConsumerArray(header=_header(stamp), tick=tick, presence=[False, False], consumers=consumers)


def stock_message(tick: int, stamp: Time, ledger: TaskLedger, node: int, now_s: float) -> Stock:
    """What is free on a node, when that changes, and what it was given of others' queues."""
    return Stock(
        header=_header(stamp),
        tick=tick,
        amount=list(ledger.stock(node)),
        running=list(ledger.running_s(node, now_s)),
        taken_from=list(ledger.taken_from[node]),
    )


def node_odometry(node: int, stamp: Time, position: NDArray[np.float64]) -> Odometry:
    """Where a node stands, [2] m, for the radio's radius."""
    return odometry_message(f"drone_{node}/base_link", stamp, np.append(position, 0.0), _AT_REST, _UPRIGHT)


def runs_message(tick: int, stamp: Time, ledger: TaskLedger) -> TaskRuns:
    """What has begun and ended since the last one; it is told once."""
    runs = [
        TaskRun(task=run.task, node=run.node, attempt=run.attempt, began=run.began_s, ended=run.ended_s, lost=run.lost)
        for run in ledger.news
    ]
    ledger.news.clear()
    return TaskRuns(header=_header(stamp), tick=tick, runs=runs)


def ready_status(tick: int, stamp: Time, ledger: TaskLedger, attended: list[bool]) -> WorldStatus:
    """The cluster at a tick; "delivered" is the share of the tasks that have ended."""
    place = np.zeros((len(ledger.cluster), 3))
    place[:, :2] = ledger.cluster.position
    return WorldStatus(
        header=_header(stamp),
        tick=tick,
        alive=attended,
        position=place.ravel().tolist(),
        stock=[each for node in range(len(ledger.cluster)) for each in ledger.stock(node)],
        unmet=ledger.waiting().ravel().tolist(),
        delivered_fraction=ledger.n_ended / len(ledger.workload),
    )
