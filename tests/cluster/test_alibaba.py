"""Alibaba's batch_task files: every trap is handled and counted, every container is opened, errors are one line."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_cluster.alibaba import COLUMNS, read_batch_tasks, write_batch_tasks
from sortie_cluster.data_report import ACTIONS, DataReport
from sortie_cluster.trace_generator import generate_trace
from sortie_core.config import UserError

if TYPE_CHECKING:
    from sortie_cluster.trace_table import TraceTable

TWO_TASKS = "M1,2.0,j_1,1,Terminated,10,14,100.0,0.2\nR2_1,1.0,j_1,1,Terminated,14,20,50.0,0.39\n"


def read(text: str, folder: Path) -> tuple[TraceTable, DataReport]:
    path = folder / "batch_task.csv"
    path.write_text(text, encoding="utf-8")
    return read_batch_tasks(path)


def row(
    name: str = "M1", job: str = "j_9", start: object = 5, end: object = 9, *, instances: object = 1,
    status: str = "Terminated", cpu: object = 100.0, memory: object = 0.3,
) -> str:  # fmt: skip
    return f"{name},{instances},{job},1,{status},{start},{end},{cpu},{memory}\n"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real rows where SORTIE_TRACES names their folder, else the generator's."""
    if folder := os.environ.get("SORTIE_TRACES"):
        return sorted(Path(folder).glob("*batch_task*.csv"))[0]
    path = tmp_path_factory.mktemp("trace") / "batch_task.csv"
    write_batch_tasks(generate_trace(3000, seed=4), path)
    return path


def test_columns_become_cores_percent_seconds_and_edges(tmp_path: Path) -> None:
    table, report = read(TWO_TASKS, tmp_path)
    assert table.registered_s.tolist() == [10, 14]
    assert table.duration_s.tolist() == [4, 6]
    assert table.cpu.tolist() == [1.0, 0.5]
    assert table.memory.tolist() == [0.2, 0.39]
    assert table.instances.tolist() == [2, 1]
    assert table.parents == ((), (0,))
    assert (report.n_rows, report.n_tasks, report.n_jobs, report.counts) == (2, 2, 1, {})


def test_tasks_are_ordered_by_registration_and_dependencies_follow(tmp_path: Path) -> None:
    table, _ = read(row("J3_1_2", start=9, end=12) + row("M2", start=5) + row("M1", start=5), tmp_path)
    assert table.task_name.tolist() == ["M2", "M1", "J3_1_2"]
    assert table.parents == ((), (), (0, 1))


@pytest.mark.parametrize(
    ("trap", "text"),
    [
        ("malformed row", "M1,1,j_1,1,Terminated,5,9,100\n"),
        ("malformed row", "\n"),
        ("malformed row", row(start="noon")),
        ("malformed row", row(instances="")),
        ("malformed row", row(instances=0)),
        ("malformed row", row(cpu="inf")),
        ("unfinished (end_time 0)", row(end=0, status="Running")),
        ("unfinished (end_time 0)", row(end="", status="Waiting", instances="")),
        ("status other than Terminated", row(status="Failed")),
        ("negative time or duration", row(start=-5)),
        ("negative time or duration", row(start=10, end=9)),
        ("task name twice in a job", row("M1", "j_1", 50, 60)),
    ],
)
def test_a_row_that_cannot_be_used_is_skipped_and_counted_with_its_number(trap: str, text: str, tmp_path: Path) -> None:
    table, report = read(TWO_TASKS + text, tmp_path)
    assert len(table) == 2
    assert report.counts == {trap: 1}
    assert report.rows() == [(trap, 1, 3, ACTIONS[trap])]
    assert report.to_json()["found"][trap] == {"count": 1, "first_row": 3, "action": ACTIONS[trap]}


def test_empty_plans_are_filled_and_counted(tmp_path: Path) -> None:
    table, report = read(row("M1", cpu="") + row("M2", memory="") + row("M3", cpu=0, memory=-0.98), tmp_path)
    assert table.cpu.tolist() == [1.0, 1.0, 1.0]
    assert table.memory.tolist() == [0.3, 0.3, 0.3]
    assert report.counts == {"empty plan_cpu": 2, "empty plan_mem": 2}
    assert report.first_row == {"empty plan_cpu": 1, "empty plan_mem": 2}


def test_zero_seconds_are_half_a_second(tmp_path: Path) -> None:
    table, report = read(row(start=5, end=5), tmp_path)
    assert table.duration_s.tolist() == [0.5]
    assert report.counts == {"duration 0 s": 1}


def test_names_tell_dependencies(tmp_path: Path) -> None:
    text = row("task_Nzg3ODc=") + row("M3") + row("M4") + row("M5_3_4") + row("R6_5_5_Stg2") + row("MergeTask")
    table, report = read(text, tmp_path)
    assert table.parents == ((), (), (), (1, 2), (3,), ())
    assert report.counts == {"name without dependencies (task_...)": 2}


@pytest.mark.parametrize(
    ("trap", "name"),
    [
        ("dependency on a task that is not there", "R2_1_7"),
        ("dependency on itself", "R2_1_2"),
    ],
)
def test_a_wrong_dependency_is_dropped_and_counted(trap: str, name: str, tmp_path: Path) -> None:
    table, report = read(row("M1") + row("M7", job="j_other") + row(name), tmp_path)
    assert table.parents == ((), (), (0,))
    assert (report.counts, report.first_row) == ({trap: 1}, {trap: 3})


def test_a_parent_that_was_skipped_is_no_parent(tmp_path: Path) -> None:
    table, report = read(row("M1", status="Failed") + row("R2_1"), tmp_path)
    assert table.parents == ((),)
    assert report.counts == {"status other than Terminated": 1, "dependency on a task that is not there": 1}


def test_a_cut_name_loses_its_last_number_only_where_that_may_be_cut(tmp_path: Path) -> None:
    first = "".join(row(f"M{number}") for number in range(1, 20))
    inside = "R24_1_2_3_4_5_6_7_8_9_10_11_12_13_14_15_16_17_18_1"
    between = "J28_4_5_6_7_8_10_11_12_13_14_15_16_17_18_19_1_002_"
    assert len(inside) == len(between) == 50
    table, report = read(first + row(inside) + row(between), tmp_path)
    assert table.parents[19] == tuple(range(18))
    assert table.parents[20] == (0, 1, *range(3, 8), *range(9, 19))
    assert report.counts == {"name cut at 50 characters": 2}


def test_only_the_edge_that_closes_a_cycle_is_dropped(tmp_path: Path) -> None:
    cycle = row("M1_3") + row("R2_1") + row("R3_2") + row("R4_3")
    table, report = read(cycle + row("M1", "j_2") + row("R2_1", "j_2"), tmp_path)
    assert table.parents == ((), (0,), (1,), (2,), (), (4,))
    assert report.counts == {"dependency that closes a cycle": 1}


def test_a_number_that_two_tasks_bear_means_the_first(tmp_path: Path) -> None:
    table, report = read(row("M1") + row("R1_9") + row("R2_1"), tmp_path)
    assert table.parents == ((), (), (0,))
    assert report.counts["task number twice in a job"] == 1


def test_a_header_line_is_no_row_and_other_columns_are_refused(tmp_path: Path) -> None:
    table, report = read("\ufeff" + ",".join(COLUMNS) + "\r\n" + TWO_TASKS.replace("\n", "\r\n"), tmp_path)
    assert table.parents == ((), (0,))
    assert report.counts == {"header line": 1}
    with pytest.raises(UserError, match="batch_task.csv: row 1 names task_name,job_name; reorder it as task_na"):
        read("task_name,job_name\n" + TWO_TASKS, tmp_path)


def test_every_container_holds_the_same_tasks(tmp_path: Path) -> None:
    plain = tmp_path / "plain" / "batch_task.csv"
    packed = tmp_path / "packed" / "batch_task.csv.gz"
    archive = tmp_path / "archive" / "batch_task.tar.gz"
    for path in (plain, packed, archive):
        path.parent.mkdir()
    plain.write_text(TWO_TASKS)
    packed.write_bytes(gzip.compress(TWO_TASKS.encode()))
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(plain, "trace/readme.md")
        tar.add(plain, "trace/batch_task.csv")
    for path in (plain, packed, archive, plain.parent, packed.parent, archive.parent):
        table, report = read_batch_tasks(path)
        assert table.duration_s.tolist() == [4, 6], path
        assert report.path.startswith(str(path))


def test_a_file_that_gives_nothing_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "words.csv").write_text("a,b\nc,d\n")
    (tmp_path / "waiting.csv").write_text(row(end=0, status="Waiting"))
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(TWO_TASKS.encode() * 99)[:-30])
    (tmp_path / "folder").mkdir()
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "words.csv", "machine_meta.csv")
    for name, why in {
        "absent.csv": r"no trace .*alibaba/clusterdata \(cluster-trace-v2018\), or leave trace.path empty",
        "empty.csv": "it is empty",
        "words.csv": r"malformed row \(first in row 1\)",
        "waiting.csv": r"unfinished \(end_time 0\) \(first in row 1\)",
        "torn.csv.gz": "cannot read",
        "folder": "holds no batch_task.csv or batch_task.csv.gz or batch_task.tar.gz",
        "other.tar.gz": "holds no batch_task.csv",
    }.items():
        with pytest.raises(UserError, match=why) as error:
            read_batch_tasks(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_a_limit_keeps_whole_jobs_and_stops_reading_long_after_the_last(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(TWO_TASKS + row("M1", "j_2") + row("R3_2", "j_1") + row("M1", "j_3") * 150_000)
    table, report = read_batch_tasks(path, limit=2)
    assert sorted(zip(table.job_name.tolist(), table.task_name.tolist(), strict=True)) == [
        ("j_1", "M1"), ("j_1", "R2_1"), ("j_1", "R3_2"), ("j_2", "M1"),
    ]  # fmt: skip
    assert report.counts["beyond the limit of jobs"] == report.n_rows - 4
    assert 65_536 <= report.n_rows < 80_000
    with pytest.raises(UserError, match="limit of 0 jobs"):
        read_batch_tasks(path, limit=0)


def test_a_time_window_keeps_what_is_registered_in_it(tmp_path: Path) -> None:
    (tmp_path / "batch_task.csv").write_text(TWO_TASKS)
    table, report = read_batch_tasks(tmp_path, from_s=14, until_s=15)
    assert table.task_name.tolist() == ["R2_1"] and table.parents == ((),)
    assert report.counts == {"outside the time window": 1, "dependency on a task that is not there": 1}


def test_a_written_table_reads_back_the_same(tmp_path: Path) -> None:
    table = generate_trace(500, seed=2, jobs_per_s=0.7)
    for name in ("batch_task.csv", "batch_task.csv.gz"):
        write_batch_tasks(table, tmp_path / name)
        again, report = read_batch_tasks(tmp_path / name)
        assert report.counts == {}
        assert again.task_name.tolist() == table.task_name.tolist()
        assert again.job_name.tolist() == table.job_name.tolist()
        assert again.parents == table.parents
        for field in ("registered_s", "duration_s", "cpu", "memory", "instances"):
            np.testing.assert_allclose(getattr(again, field), getattr(table, field), rtol=1e-9, atol=1e-6)


def test_a_whole_trace_reads_with_every_row_accounted_for(rows: Path) -> None:
    table, report = read_batch_tasks(rows)
    skipped = [name for name, action in ACTIONS.items() if "skipped" in action]
    assert report.n_rows == len(table) + sum(report.counts.get(name, 0) for name in skipped)
    assert len(table) > 9_000 and report.n_jobs > 2_000
    assert (np.diff(table.registered_s) >= 0).all()
    assert (table.duration_s > 0).all() and (table.cpu > 0).all() and (table.memory > 0).all()
    parents, children = table.edges()
    assert (table.job[parents] == table.job[children]).all()
    assert table.depth().max() > 3
