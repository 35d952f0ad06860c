"""What has happened in a run: when and where each task waited, ran and ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sortie_cluster.cluster import Cluster
    from sortie_cluster.workload import Workload


class Move(NamedTuple):
    """A task goes from a node to another one.

    Attributes:
        task: its number.
        source: the node it leaves.
        target: the node it goes to.
        at_s: when, s.
        pulled: whether the target took it.
        again: whether it had been kept before, and may hence be handed on as often as a new one.
    """

    task: int
    source: int
    target: int
    at_s: float
    pulled: bool
    again: bool = False


class Lost(NamedTuple):
    """A task whose node failed while it ran."""

    task: int
    node: int
    began_s: float
    at_s: float


@dataclass
class Schedule:
    """The log of a run of n tasks; NaN and -1 where something has not happened.

    Attributes:
        cluster: the nodes.
        workload: the tasks.
        ready_s: [n] when each could be scheduled: its arrival, or the end of the last task it depends on.
        begin_s: [n] when it began to run.
        end_s_of: [n] when it ended.
        node: [n] where it ran.
        dropped: [n] given up.
        moves: who handed or took which task, in order.
        lost: runs that a failure cut short.
        end_s: when the log ends.
    """

    cluster: Cluster
    workload: Workload
    max_hops: int
    ready_s: list[float]
    begin_s: list[float]
    end_s_of: list[float]
    node: list[int]
    dropped: list[bool]
    moves: list[Move] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    end_s: float = 0.0

    @classmethod
    def empty(cls, cluster: Cluster, workload: Workload, max_hops: int) -> Schedule:
        """Nothing has happened."""
        n_tasks = len(workload)
        never = float("nan")
        return cls(
            cluster,
            workload,
            max_hops,
            [never] * n_tasks,
            [never] * n_tasks,
            [never] * n_tasks,
            [-1] * n_tasks,
            [False] * n_tasks,
        )

    def hand_over(self, task: int, source: int, target: int, at_s: float, *, again: bool = False) -> None:
        """A node hands a task to another one."""
        self.moves.append(Move(task, source, target, at_s, False, again))

    def take_over(self, task: int, source: int, target: int, at_s: float) -> None:
        """A node takes a task from another one's queue."""
        self.moves.append(Move(task, source, target, at_s, True))

    def begin(self, task: int, node: int, at_s: float) -> None:
        """A task begins to run."""
        self.begin_s[task] = at_s
        self.node[task] = node

    def lose(self, task: int, node: int, at_s: float) -> None:
        """A run is cut short; the task waits again."""
        self.lost.append(Lost(task, node, self.begin_s[task], at_s))
        self.begin_s[task] = float("nan")
        self.node[task] = -1

    @property
    def completion_s(self) -> np.ndarray:
        """[n] from ready to end, s."""
        return np.array(self.end_s_of) - np.array(self.ready_s)
