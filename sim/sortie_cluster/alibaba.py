"""Batch tasks of Alibaba's cluster trace v2018, read as a stream, with every trap of the files counted.

The format: `schema.txt` of https://github.com/alibaba/clusterdata, folder cluster-trace-v2018. `M5_3_4` is task 5 of
its job, to begin after tasks 3 and 4; `task_...` depends on nothing.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import lzma
import math
import re
import tarfile
import zlib
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from sortie_cluster.data_report import (
    ACTIONS,
    MEDIAN_CPU,
    MEDIAN_MEMORY,
    NAME_WIDTH,
    SUB_SECOND_S,
    DataReport,
)
from sortie_cluster.trace_table import TraceTable, closing_edges, parents_of, ranges
from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

COLUMNS = (
    "task_name", "instance_num", "job_name", "task_type", "status", "start_time", "end_time", "plan_cpu", "plan_mem",
)  # fmt: skip
_FILES = ("batch_task.csv", "batch_task.csv.gz", "batch_task.tar.gz")
_CHUNK = 8_192
_LAST_STRETCH = 65_536
"""Reading ends this many rows after the last row of the jobs that a limit keeps; the official file groups by job."""
_NAME = re.compile(r"[A-Za-z]+(\d{1,9})((?:_\d{1,9})*)(?:_.*)?")
_SOURCE = "get batch_task from https://github.com/alibaba/clusterdata (cluster-trace-v2018)"


def read_batch_tasks(
    path: str | Path, limit: int | None = None, from_s: float = 0.0, until_s: float = math.inf
) -> tuple[TraceTable, DataReport]:
    """Read the tasks that have ended.

    Only rows that are kept need memory, so that `limit` or a time window reads files of any size.

    Args:
        path: batch_task.csv, with or without a header line, plain or gz, batch_task.tar.gz, or a folder with one.
        limit: read this many jobs, the first in the file; the official file is in no order of time.
        from_s: read tasks registered at or after this time, s.
        until_s: read tasks registered before this time, s.

    Raises:
        UserError: one line; the file is missing, cannot be read or holds no usable row.
    """
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} jobs reads nothing from {path}; raise it to 1 or more")
    file = _locate(Path(path))
    reading = _Reading(file, limit, from_s, until_s)
    try:
        for rows in _chunks(file):
            if not reading.take(rows):
                break
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise UserError(f"cannot read {file}: {error}; {_SOURCE} again") from None
    if not reading.jobs:
        met = ", ".join(f"{name} (first in row {row})" for name, row in reading.first_row.items()) or "it is empty"
        raise UserError(f"{file} holds no usable task among {reading.n_rows} rows: {met}; {_SOURCE}")
    table = reading.table()
    counts = {name: reading.counts[name] for name in ACTIONS if reading.counts[name]}
    return table, DataReport(str(file), reading.n_rows, len(table), len(reading.jobs), counts, reading.first_row)


def write_batch_tasks(table: TraceTable, path: str | Path) -> None:
    """Write tasks as a batch_task.csv without header, as `read_batch_tasks` reads it; gz where the name ends so.

    Dependencies are written as the tasks' names tell them.
    """
    target = Path(path)
    opened = gzip.open(target, "wt", newline="") if target.suffix == ".gz" else target.open("w", newline="")
    ends = table.registered_s + table.duration_s
    with opened as stream:
        csv.writer(stream, lineterminator="\n").writerows(
            (name, count, job, 1, "Terminated", start, end, 100 * cpu, memory)
            for name, count, job, start, end, cpu, memory in zip(
                table.task_name.tolist(), table.instances.tolist(), table.job_name.tolist(),
                table.registered_s.tolist(), ends.tolist(), table.cpu.tolist(), table.memory.tolist(), strict=True,
            )
        )  # fmt: skip


def _locate(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in _FILES if (path / name).is_file()]
        if not found:
            raise UserError(f"{path} holds no {' or '.join(_FILES)}; {_SOURCE} into it")
        return found[0]
    if not path.exists():
        raise UserError(f"no trace {path}; {_SOURCE}, or leave trace.path empty to use the generator")
    return path


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    """The rows of a plain, gz or tar file, told by its content."""
    with path.open("rb") as file:
        magic = file.read(2)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                if PurePosixPath(member.name).name == _FILES[0] and (stream := archive.extractfile(member)):
                    yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
                    return
        raise UserError(f"{path} holds no {_FILES[0]}; {_SOURCE}")
    with gzip.open(path) if magic == b"\x1f\x8b" else path.open("rb") as binary:
        yield io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace")


def _chunks(path: Path) -> Iterator[list[list[str]]]:
    """The rows, cut at the commas: the format quotes nothing, and this is three times as fast as the module csv."""
    with _opened(path) as stream:
        while lines := list(itertools.islice(stream, _CHUNK)):
            yield [line.rstrip("\n").split(",") for line in lines]


def _floats(column: Sequence[str]) -> NDArray[np.float64]:
    """[n]; nan where empty, inf where it is no number."""
    try:
        return np.array([float(value) if value else math.nan for value in column], np.float64)
    except ValueError:
        return np.array([_float(value) for value in column], np.float64)


def _float(value: str) -> float:
    try:
        return float(value) if value.strip() else math.nan
    except ValueError:
        return math.inf


@dataclass
class _Reading:
    """What has been read so far."""

    path: Path
    limit: int | None
    from_s: float
    until_s: float
    n_rows: int = 0
    last_kept: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    first_row: dict[str, int] = field(default_factory=dict)
    kept: list[NDArray[np.float64]] = field(default_factory=list)
    """Per chunk [8, n]: row, name, job, start, end, CPU, memory, instances; all whole or exact in a float64."""

    def met(self, trap: str, rows: NDArray[np.int64]) -> None:
        """Count the rows [k] with a trap."""
        if len(rows):
            self.counts[trap] += len(rows)
            self.first_row[trap] = min(int(rows.min()), self.first_row.get(trap, int(rows.min())))

    def take(self, rows: list[list[str]]) -> bool:
        """Keep the usable of these rows; False when the rest of the file need not be read."""
        number = np.arange(len(rows)) + self.n_rows + 1
        self.n_rows += len(rows)
        if number[0] == 1 and rows[0][:1] == [COLUMNS[0]]:
            if tuple(rows[0]) != COLUMNS:
                raise UserError(f"{self.path}: row 1 names {','.join(rows[0])}; reorder it as {','.join(COLUMNS)}")
            self.met("header line", number[:1])
            rows, number = rows[1:], number[1:]
        if set(map(len, rows)) - {len(COLUMNS)}:
            whole = np.array([len(row) == len(COLUMNS) for row in rows])
            self.met("malformed row", number[~whole])
            rows, number = list(itertools.compress(rows, whole)), number[whole]
        if not rows:
            return True
        names, instances, jobs, _, status, start, end, cpu, memory = zip(*rows, strict=True)
        done = np.array([each == "Terminated" for each in status])
        numbers = np.stack([_floats(column) for column in (start, end, cpu, memory, instances)])
        use = self._usable(number, numbers, done)
        chosen = np.flatnonzero(use)
        job = self._job_numbers([jobs[index] for index in chosen.tolist()])
        self.met("beyond the limit of jobs", number[chosen[job < 0]])
        chosen, job = chosen[job >= 0], job[job >= 0]
        code = [self.names.setdefault(names[index], len(self.names)) for index in chosen.tolist()]
        self.kept.append(np.stack([number[chosen], np.array(code, np.int64), job, *numbers[:, chosen]]))
        self.last_kept = int(number[chosen[-1]]) if len(chosen) else self.last_kept
        full = self.limit is not None and len(self.jobs) == self.limit
        return not full or self.n_rows - self.last_kept < _LAST_STRETCH

    def _usable(
        self, number: NDArray[np.int64], numbers: NDArray[np.float64], done: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """[n] rows to keep; each other one is counted under the first trap that it falls into."""
        start, end, _, _, instances = numbers
        traps = (
            ("malformed row", np.isinf(numbers).any(axis=0)),
            ("unfinished (end_time 0)", (end == 0) | np.isnan(end)),
            ("status other than Terminated", ~done),
            ("malformed row", np.isnan(start) | ~(instances >= 1)),
            ("negative time or duration", (start < 0) | (end < start)),
            ("outside the time window", (start < self.from_s) | (start >= self.until_s)),
        )
        use = np.ones(len(number), bool)
        for trap, caught in traps:
            self.met(trap, number[use & caught])
            use &= ~caught
        return use

    def _job_numbers(self, names: list[str]) -> NDArray[np.int64]:
        """[n] in order of appearance; -1 beyond the limit."""
        if self.limit is None:
            return np.array([self.jobs.setdefault(name, len(self.jobs)) for name in names], np.int64)
        for name in names:
            if len(self.jobs) == self.limit:
                break
            self.jobs.setdefault(name, len(self.jobs))
        return np.array([self.jobs.get(name, -1) for name in names], np.int64)

    def table(self) -> TraceTable:
        """What has been kept, in order of registration."""
        kept = np.concatenate(self.kept, axis=1)
        _, first = np.unique(kept[2] * len(self.names) + kept[1], return_index=True)
        twice = np.ones(kept.shape[1], bool)
        twice[first] = False
        self.met("task name twice in a job", kept[0, twice].astype(np.int64))
        kept = kept[:, ~twice]
        kept = kept[:, np.argsort(kept[3], kind="stable")]
        row, code, job = kept[:3].astype(np.int64)
        start, end, cpu, memory, instances = kept[3:]
        for trap, caught, values, value in (
            ("empty plan_cpu", ~(cpu > 0), cpu, MEDIAN_CPU),
            ("empty plan_mem", ~(memory > 0), memory, MEDIAN_MEMORY),
        ):
            self.met(trap, row[caught])
            values[caught] = value
        self.met("duration 0 s", row[end == start])
        return TraceTable(
            job=job,
            job_name=np.array(list(self.jobs))[job],
            task_name=np.array(list(self.names))[code],
            registered_s=start.copy(),
            duration_s=np.where(end == start, SUB_SECOND_S, end - start),
            cpu=cpu / 100,
            memory=memory.copy(),
            instances=instances.astype(np.int64),
            parents=parents_of(len(row), *self._dependencies(row, code, job)),
            row=row,
        )

    def _dependencies(
        self, row: NDArray[np.int64], code: NDArray[np.int64], job: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[e] parents and [e] children among tasks [n] by row, name and job."""
        parsed = [_parse(name) for name in self.names]
        own = np.array([number for number, _, _ in parsed], np.int64)[code]
        self.met("name without dependencies (task_...)", row[own < 0])
        self.met(f"name cut at {NAME_WIDTH} characters", row[np.array([cut for _, _, cut in parsed], bool)[code]])
        lengths = np.array([len(wanted) for _, wanted, _ in parsed], np.int64)
        starts, flat = np.cumsum(lengths) - lengths, np.array([each for _, wanted, _ in parsed for each in wanted], int)
        children, wanted = np.repeat(np.arange(len(row)), lengths[code]), flat[ranges(starts[code], lengths[code])]
        named = np.flatnonzero(own >= 0)
        keys, first = np.unique(job[named] << 32 | own[named], return_index=True)
        twice = np.ones(len(named), bool)
        twice[first] = False
        self.met("task number twice in a job", row[named[twice]])
        key = job[children] << 32 | wanted
        place = np.minimum(np.searchsorted(keys, key), max(len(keys) - 1, 0))
        there = keys[place] == key if len(keys) else np.zeros(len(key), bool)
        self.met("dependency on a task that is not there", row[children[~there]])
        children, parents = children[there], named[first[place[there]]]
        itself = parents == children
        self.met("dependency on itself", row[children[itself]])
        pairs = np.unique(children[~itself] << 32 | parents[~itself])
        children, parents = pairs >> 32, pairs & 0xFFFFFFFF
        closing = closing_edges(len(row), parents, children)
        self.met("dependency that closes a cycle", row[children[closing]])
        return np.delete(parents, closing), np.delete(children, closing)


def _parse(name: str) -> tuple[int, list[int], bool]:
    """The number of a task, -1 for an independent one, those of its parents, and whether its name is cut."""
    cut = len(name) >= NAME_WIDTH
    match = _NAME.fullmatch(name)
    if not match:
        return -1, [], False
    wanted = [int(number) for number in match[2].split("_")[1:]]
    if cut and wanted and name[-1].isdigit():
        wanted = wanted[:-1]
    return int(match[1]), wanted, cut
