"""The tasks of a trace with their dependencies: a struct of arrays, and its windows for training and testing."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.config import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOWS: dict[str, tuple[float, float]] = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
"""Shares of the jobs, in order of their first registration, between which each window lies."""


@dataclass(frozen=True)
class TraceTable:
    """n tasks in order of registration; those registered at the same time keep the order of their source.

    Attributes:
        job: [n] number of the job.
        job_name: [n] what the trace calls the job.
        task_name: [n] what the trace calls the task; unique within its job.
        registered_s: [n] when the task is registered, s, ascending; its work may start later.
        duration_s: [n] end minus registration, s, above 0.
        cpu: [n] cores per instance.
        memory: [n] percent of a trace machine's memory per instance.
        instances: [n] number of instances.
        parents: for each task the tasks of its job, as indices into the table, that must end before it may start.
        row: [n] where it stands in its file, whose first row is 1; 0 for what was generated.
    """

    job: NDArray[np.int64]
    job_name: NDArray[np.str_]
    task_name: NDArray[np.str_]
    registered_s: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    instances: NDArray[np.int64]
    parents: tuple[tuple[int, ...], ...]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of tasks, n."""
        return len(self.job)

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[e] parents and [e] children, in order of the children."""
        counts = np.fromiter(map(len, self.parents), np.int64, len(self))
        flat = itertools.chain.from_iterable(self.parents)
        return np.fromiter(flat, np.int64, int(counts.sum())), np.repeat(np.arange(len(self)), counts)

    def depth(self) -> NDArray[np.int64]:
        """[n] level in the job: 0 without parents, else one more than the deepest parent."""
        return levels(len(self), *self.edges())[0]

    def select(self, mask: NDArray[np.bool_]) -> TraceTable:
        """The tasks where mask [n] holds, with those of their parents that are kept; jobs keep their numbers."""
        kept = np.flatnonzero(mask)
        place = np.full(len(self), -1)
        place[kept] = np.arange(len(kept))
        new = place.tolist()
        return TraceTable(
            job=self.job[kept],
            job_name=self.job_name[kept],
            task_name=self.task_name[kept],
            registered_s=self.registered_s[kept],
            duration_s=self.duration_s[kept],
            cpu=self.cpu[kept],
            memory=self.memory[kept],
            instances=self.instances[kept],
            parents=tuple(
                tuple(new[parent] for parent in self.parents[task] if new[parent] >= 0) for task in kept.tolist()
            ),
            row=self.row[kept],
        )

    def name(self, task: int) -> str:
        """What people find a task by."""
        name = f"{self.job_name[task]}/{self.task_name[task]}"
        return f"row {self.row[task]} ({name})" if self.row[task] else name

    def window(self, name: str) -> TraceTable:
        """Whole jobs, by the time of their first registration: the first 60 % train, then 20 % validation, 20 % test.

        Raises:
            UserError: no window of this name.
        """
        if name not in WINDOWS:
            raise UserError(f"no window {name!r} of a trace; name one of {', '.join(WINDOWS)}")
        # The table is ordered by registration, so the first rows of the jobs come in order of their first registration.
        _, first, job = np.unique(self.job, return_index=True, return_inverse=True)
        place = np.empty(len(first), np.int64)
        place[np.argsort(first)] = np.arange(len(first))
        low, high = (round(share * len(first)) for share in WINDOWS[name])
        return self.select((place[job] >= low) & (place[job] < high))


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[sum of counts] the whole numbers from each start [k], as many as its count [k], one after the other."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def levels(
    n: int, parents: NDArray[np.int64], children: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Levels of n tasks under the edges [e] from parents to children, all levels of one rank at a time.

    Returns:
        [n] level, 0 without parents, else one more than the deepest parent; and [n] whether the task has one at all:
        those on a cycle or behind one have none, and level 0.
    """
    level, waiting = np.zeros(n, np.int64), np.bincount(children, minlength=n)
    by_parent = np.argsort(parents, kind="stable")
    heads = children[by_parent]
    starts = np.searchsorted(parents[by_parent], np.arange(n + 1))
    front, rank = np.flatnonzero(waiting == 0), 0
    ranked = waiting == 0
    while len(front):
        rank += 1
        freed = heads[ranges(starts[front], starts[front + 1] - starts[front])]
        np.subtract.at(waiting, freed, 1)
        front = np.unique(freed[waiting[freed] == 0])
        level[front], ranked[front] = rank, True
    return level, ranked


def parents_of(n: int, parents: NDArray[np.int64], children: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """`TraceTable.parents` of n tasks from edges [e] in any order; the inverse of `TraceTable.edges`."""
    order = np.lexsort((parents, children))
    flat = parents[order].tolist()
    bounds = np.searchsorted(children[order], np.arange(n + 1)).tolist()
    return tuple(tuple(flat[low:high]) for low, high in zip(bounds, bounds[1:], strict=False))


def closing_edges(n: int, parents: NDArray[np.int64], children: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the edges [e] that lead a depth-first search, from the first task on, back to where it comes from.

    Without them no cycle is left.
    """
    _, ranked = levels(n, parents, children)
    edges = np.flatnonzero(~ranked[parents] & ~ranked[children])
    below: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for edge, parent, child in zip(edges.tolist(), parents[edges].tolist(), children[edges].tolist(), strict=True):
        below[parent].append((edge, child))
    closing: list[int] = []
    on_path: dict[int, bool] = {}
    for root in sorted(below):
        if root in on_path:
            continue
        on_path[root], path = True, [(root, iter(below[root]))]
        while path:
            task, rest = path[-1]
            for edge, child in rest:
                if on_path.get(child):
                    closing.append(edge)
                elif child not in on_path:
                    on_path[child] = True
                    path.append((child, iter(below.get(child, []))))
                    break
            else:
                on_path[task] = False
                path.pop()
    return np.array(sorted(closing), np.int64)
