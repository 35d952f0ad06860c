"""The generated trace: the trace's marginals, dependencies that hold, the same for the same seed."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from sortie_cluster.trace_calibration import (
    MARGINALS,
    Marginal,
    calibration,
    condense,
    draw_calibration,
    observed,
    shipped_marginals,
)
from sortie_cluster.trace_generator import generate_trace
from sortie_cluster.trace_table import TraceTable
from sortie_core.config import UserError


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return generate_trace(20_000, seed=11)


@pytest.fixture
def histograms(tmp_path: Path, table: TraceTable) -> Path:
    """The trace's histograms where SORTIE_TRACES names their folder, else those of what is shipped and generated."""
    if folder := os.environ.get("SORTIE_TRACES"):
        return sorted(Path(folder).glob("*histograms*.json"))[0]

    def histogram(values: np.ndarray, counts: np.ndarray) -> dict[str, list[float]]:
        return {"edges": [-1.0, *values.tolist()], "counts": counts.tolist()}

    seen, n = shipped_marginals(), 1_000_000
    raw: dict[str, object] = {
        source: histogram(each.values, np.diff(each.cdf, prepend=0) * n)
        for name, (source, _) in MARGINALS.items()
        if (each := seen.of[name])
    }
    raw["cpl_dist"] = {
        str(size): histogram(each.values, np.diff(each.cdf, prepend=0) * n) for size, each in seen.critical_path.items()
    }
    depth = table.depth()
    deepest = np.array([depth[table.job == job].max() for job in range(2000)])
    of_job = np.append(deepest, np.full(table.job.max() + 1 - 2000, -1))[table.job]
    raw["level_dist"] = {
        str(k + 1): histogram(np.arange(k + 1) + 1.0, np.bincount(depth[of_job == k], minlength=k + 1))
        for k in range(deepest.max() + 1)
    }
    path = tmp_path / "histograms.json"
    path.write_text(json.dumps(raw))
    return path


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    one, same, other = generate_trace(300, 5), generate_trace(300, 5), generate_trace(300, 6)
    for field in fields(TraceTable):
        a, b = getattr(one, field.name), getattr(same, field.name)
        assert a == b if field.name == "parents" else (a == b).all()
    assert len(one) != len(other) or (one.duration_s != other.duration_s).any()


def test_marginals_are_those_of_the_trace(table: TraceTable) -> None:
    found = {row.name: row for row in calibration(table)}
    assert set(found) == set(MARGINALS)
    for name, row in found.items():
        # the spread over the levels is drawn per template; everything else is looked up rank by rank
        assert row.distance < (0.03 if name == "level" else 0.002), name
        assert row.table[1:] == pytest.approx(row.trace[1:], rel=0.03), name
        assert row.table[0] == pytest.approx(row.trace[0], rel=0.03), name


def test_short_tasks_have_the_trace_s_mean(table: TraceTable) -> None:
    short = (table.duration_s >= 1) & (table.duration_s <= 17)
    assert table.duration_s[short].mean() == pytest.approx(4.916, rel=0.02)


def test_children_are_registered_when_their_last_parent_ends(table: TraceTable) -> None:
    ends = table.registered_s + table.duration_s
    _, first = np.unique(table.job, return_index=True)
    start = table.registered_s[first]
    for task, parents in enumerate(table.parents):
        expected = max((ends[parent] for parent in parents), default=start[table.job[task]])
        assert table.registered_s[task] == expected
    assert (np.diff(table.registered_s) >= 0).all()


def test_names_tell_the_dependencies_and_are_not_cut(table: TraceTable) -> None:
    assert max(map(len, table.task_name.tolist())) < 50
    number = [int(name.split("_")[0][1:]) for name in table.task_name.tolist()]
    for task, parents in enumerate(table.parents):
        assert sorted(number[parent] for parent in parents) == list(map(int, table.task_name[task].split("_")[1:]))
    pairs = np.stack([table.job, np.array(number)])
    assert np.unique(pairs, axis=1).shape[1] == len(table)


def test_jobs_recur(table: TraceTable) -> None:
    graphs: dict[str, set[int]] = {}
    for job, name in zip(table.job.tolist(), table.task_name.tolist(), strict=True):
        graphs.setdefault(name, set()).add(job)
    assert len(graphs["R2_1"]) > 1000


def test_a_rate_scales_the_time_between_jobs() -> None:
    table = generate_trace(2000, seed=1, jobs_per_s=0.5)
    first = np.sort(table.registered_s[np.unique(table.job, return_index=True)[1]])
    assert 1999 / (first[-1] - first[0]) == pytest.approx(0.5, rel=0.02)


def test_one_job_is_a_trace_and_none_is_refused() -> None:
    assert set(generate_trace(1, seed=0).job.tolist()) == {0}
    with pytest.raises(UserError, match="0 jobs make no trace"):
        generate_trace(0, seed=0)
    with pytest.raises(UserError, match="jobs_per_s: 0 "):
        generate_trace(5, seed=0, jobs_per_s=0.0)
    with pytest.raises(UserError, match="seed -1 "):
        generate_trace(5, seed=-1)


def test_a_marginal_looks_up_quantiles_and_measures_distances() -> None:
    one = Marginal.of_counts(np.array([4.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0]))
    assert one.values.tolist() == [1, 2, 4]
    assert one.quantile(np.array([0.0, 0.5, 0.51, 0.75, 0.76, 1.0])).tolist() == [1, 1, 2, 2, 4, 4]
    assert one.mean() == 2.0
    other = Marginal.of_counts(np.array([1.0, 3.0]), np.array([3.0, 1.0]))
    assert one.distance(other) == 0.25
    assert one.distance(one) == 0.0


def test_the_shipped_table_is_small_and_names_its_source() -> None:
    asset = resources.files("sortie_cluster").joinpath("assets", "alibaba_v2018_marginals.json")
    text = asset.read_text("utf-8")
    assert len(text) < 25_000
    data = json.loads(text)
    assert "All-less/trace-generator" in data["source"] and data["licence"] == "MIT"


def test_condensing_the_histograms_gives_what_is_shipped(histograms: Path) -> None:
    condensed = condense(histograms)
    if "SORTIE_TRACES" in os.environ:
        asset = resources.files("sortie_cluster").joinpath("assets", "alibaba_v2018_marginals.json")
        assert condensed == json.loads(asset.read_text("utf-8"))
    table = generate_trace(3000, seed=3)
    for row in calibration(table, histograms):
        assert row.distance < 0.04, row.name


def test_a_missing_or_foreign_file_of_histograms_is_refused_in_a_line(tmp_path: Path) -> None:
    table = generate_trace(5, seed=0)
    with pytest.raises(UserError, match="no histograms .*absent.json"):
        calibration(table, tmp_path / "absent.json")
    (tmp_path / "other.json").write_text('{"cpl_dist": {}}')
    with pytest.raises(UserError, match="lacks the histograms task_num_dist"):
        calibration(table, tmp_path / "other.json")


def test_the_figure_is_drawn(table: TraceTable, tmp_path: Path) -> None:
    draw_calibration(table, tmp_path / "calibration.png")
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert set(observed(table)) == set(MARGINALS)
