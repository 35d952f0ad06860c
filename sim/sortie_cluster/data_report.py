"""What is met in a trace's files, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MEDIAN_CPU, MEDIAN_MEMORY = 100.0, 0.3
"""Medians of the whole trace, which stand in for an empty plan_cpu (100 is one core) and plan_mem (% of a machine)."""
SUB_SECOND_S = 0.5
"""What a duration of 0 s is taken for: times are whole seconds."""
NAME_WIDTH = 50
"""Names are cut at this many characters (alibaba/clusterdata, issue 136)."""
ACTIONS: dict[str, str] = {
    "header line": "skipped",
    "malformed row": "skipped",
    "unfinished (end_time 0)": "skipped",
    "status other than Terminated": "skipped",
    "negative time or duration": "skipped",
    "outside the time window": "skipped; a job that crosses the window's edge is cut",
    "beyond the limit of jobs": "skipped; reading ends with the first long stretch without a row of the jobs kept",
    "task name twice in a job": "the later row skipped",
    "task number twice in a job": "dependencies on the number go to its first row",
    "empty plan_cpu": f"filled with {MEDIAN_CPU:g}, the median",
    "empty plan_mem": f"filled with {MEDIAN_MEMORY:g}, the median",
    "duration 0 s": f"kept as {SUB_SECOND_S:g} s",
    "name without dependencies (task_...)": "kept as independent",
    f"name cut at {NAME_WIDTH} characters": "its last, perhaps cut, number dropped",
    "dependency on a task that is not there": "dependency dropped",
    "dependency on itself": "dependency dropped",
    "dependency that closes a cycle": "dependency dropped",
}
"""Every trap and what is done about it."""


@dataclass(frozen=True)
class DataReport:
    """What was met in a file.

    Attributes:
        path: the file.
        n_rows: rows read.
        n_tasks: tasks kept.
        n_jobs: jobs kept.
        counts: how many there are of each trap that was met, in order of `ACTIONS`; rows or, for those, dependencies.
        first_row: the row where each was met first; the file's first row is 1.
    """

    path: str
    n_rows: int
    n_tasks: int
    n_jobs: int
    counts: dict[str, int]
    first_row: dict[str, int]

    def rows(self) -> list[tuple[str, int, int, str]]:
        """For a table: trap, count, first row, what was done."""
        return [(name, count, self.first_row[name], ACTIONS[name]) for name, count in self.counts.items()]

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        found = {
            name: {"count": count, "first_row": first, "action": action} for name, count, first, action in self.rows()
        }
        return {"path": self.path, "rows": self.n_rows, "tasks": self.n_tasks, "jobs": self.n_jobs, "found": found}
