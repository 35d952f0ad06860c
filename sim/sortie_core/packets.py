"""What goes over the air, and what one agent perceives by itself.

One policy tick is a sequence of radio rounds. Round 0 is a beacon, sent at every tick; on decision ticks those of the
deliberation follow (K = policy.hops, E = policy.exchanges, at least 1 of them), each one packet per agent:

    ============= ================================================= =======================
    round         payload                                           floats
    ============= ================================================= =======================
    0             position, velocity, stock                         D + D + R
                  on decision ticks, where demands are relayed:
                  each known one: consumer, tick sensed, position,
                  need                                              + (2 + D + R) each
    1 .. K        tap k-1 of the feature filter                     F
    K+1 .. K+E    attention Xi                                      M + 1
                  with policy.exchanges: position, stock, then each + D + R
                  kept intention: sender, age, position, stock,
                  intent                                            + (2 + D + R + M) each
                  the last of these begins with input u and state x + F + F
    K+E+1 ..      taps of u and x, up to tap K-1                    F + F
    2K+E-1
    ============= ================================================= =======================

A compute cluster's nodes (`sortie_policy.cluster_runtime`) know one round alone, the beacon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from sortie_core.config_sections import Policy

HEADER_BYTES = 9
"""sender (2), tick (4), round (1) and payload length (2), as they would be packed on a radio."""


@dataclass(frozen=True)
class Packet:
    """One broadcast of one agent.

    Attributes:
        sender: index of the agent.
        tick: policy tick at which it was sent.
        round: radio round within the tick; 0 is the beacon.
        payload: [P] float32, see the module's table.
    """

    sender: int
    tick: int
    round: int
    payload: np.ndarray

    @property
    def n_bytes(self) -> int:
        """Size on the air, bytes."""
        return HEADER_BYTES + 4 * len(self.payload)


class QueuedTask(NamedTuple):
    """A task that waits at a compute cluster's node, whose queue is a consumer.

    Attributes:
        number: of the task.
        demand: [R] cores, and percent of a trace machine's memory.
        predicted_s: predicted time on a node of speed 1, s.
        waited_s: since it could first be scheduled, s.
        placed: whether the owner of the queue has put it there; until then others cannot take it.
        key: its place in the queue, smallest first; 0 until it is placed.
        hops: how often it has been handed over.
        been: nodes that have handed it on, in turn.
    """

    number: int
    demand: tuple[float, ...]
    predicted_s: float
    waited_s: float
    placed: bool
    key: float
    hops: int
    been: tuple[int, ...] = ()


class HandOver(NamedTuple):
    """Where a task goes: to another node, or, where it has newly arrived, with a key into the own queue."""

    task: int
    target: int
    key: float


@dataclass(frozen=True)
class Consumers:
    """What is broadcast about the consumers.

    Attributes:
        position: [M, D] m.
        demand: [M, R] as first asked.
        unmet: [M, R] still asked.
        active: [M] bool, False before the demand appears.
        completed: [M] bool.
        settled: [M] bool, True where presence has been held for long enough.
        presence: [R] bool, True for demands for presence.
        tasks: M queues of tasks; empty where consumers are none.
    """

    position: np.ndarray
    demand: np.ndarray
    unmet: np.ndarray
    active: np.ndarray
    completed: np.ndarray
    settled: np.ndarray
    presence: np.ndarray
    tasks: tuple[tuple[QueuedTask, ...], ...] = ()


@dataclass(frozen=True)
class LocalView:
    """What one agent knows by itself at a tick.

    Attributes:
        tick: policy tick, from 0.
        time_s: mission time, s.
        position: [D] m, world frame.
        velocity: [D] m/s.
        stock: [R] in units of one drone's capacity.
        consumers: the demands, of which the agent looks at all where they are broadcast, and else at those near it.
        running_s: predicted s until each task that runs on a cluster's node ends.
        taken_from: others' queues that a cluster's node was given tasks of since the last tick, in turn.
    """

    tick: int
    time_s: float
    position: np.ndarray
    velocity: np.ndarray
    stock: np.ndarray
    consumers: Consumers
    running_s: tuple[float, ...] = ()
    taken_from: tuple[int, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The outcome of one agent's tick.

    Attributes:
        velocity: [D] commanded velocity, m/s, world frame.
        choice: index of the chosen consumer; M means "wait".
        attention: [M + 1] the attention Xi over the consumers and "wait".
        asks: queues that a cluster's node takes a task from, in turn, as long as it has room; the first is `choice`.
        hand_overs: where the tasks go that have newly arrived at it, and those that it hands on after all.
    """

    velocity: np.ndarray
    choice: int
    attention: np.ndarray
    asks: tuple[int, ...] = ()
    hand_overs: tuple[HandOver, ...] = ()


def deliberation_rounds(hops: int, exchanges: int) -> int:
    """Radio rounds of a deliberation, without the beacon."""
    return 2 * hops + max(1, exchanges) - 1


def n_rounds(tick: int, policy: Policy) -> int:
    """Radio rounds of a tick: the beacon, and on decision ticks the deliberation."""
    return 1 + deliberation_rounds(policy.hops, policy.exchanges) * (tick % policy.decision_steps == 0)
