"""Tasks as the world receives them: a struct of arrays, whatever trace or generator they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Workload:
    """n tasks in order of arrival.

    Attributes:
        arrival_s: [n] registration time, s, ascending; in a closed loop only the order counts.
        work_s: [n] time on a node of speed 1, s.
        cpu: [n] cores.
        memory: [n] percent of a trace machine's memory.
        entry: [n] node at which a task arrives.
        predicted_s: [n] predicted `work_s`, from what is known at arrival.
        job: [n] number of the job.
        kind: [n] kind of resource that serves it, for clusters whose nodes serve some kinds only.
        parents: for each task the tasks that must be finished before it may start; empty where they are independent.
        source: [n] closed loop: who submits it, one after the other; -1 for open arrivals.
        think_s: [n] closed loop: what its source waits before it submits this task, s.
        name: [n] what the trace calls it.
    """

    arrival_s: NDArray[np.float64]
    work_s: NDArray[np.float64]
    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    entry: NDArray[np.int64]
    predicted_s: NDArray[np.float64]
    job: NDArray[np.int64]
    kind: NDArray[np.int64]
    parents: tuple[tuple[int, ...], ...] = ()
    source: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    think_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    name: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, "U1"))

    def __len__(self) -> int:
        """N."""
        return len(self.work_s)

    @property
    def closed(self) -> bool:
        """Whether each source waits for its task before it submits the next one."""
        return len(self.source) > 0

    def with_predictions(self, predicted_s: NDArray[np.float64]) -> Workload:
        """The same tasks with other predictions [n], s."""
        return replace(self, predicted_s=np.asarray(predicted_s, np.float64))
