"""Benches print what was measured, on what machine, and whether the target was met."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sortie_cli import bench
from sortie_core.config import UserError


@pytest.mark.parametrize(("target", "met"), [(1.0, True), (1e12, False)])
def test_a_short_measurement_is_judged_against_the_target(
    target: float, met: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = dataclasses.replace(bench.BENCHES["point_world"], seconds=0.05, target=target)
    monkeypatch.setitem(bench.BENCHES, "point_world", short)
    bench.run_bench("point_world", as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["met"] is met
    assert report["value"] == report["figures"]["env_steps_per_s"] > 1.0
    assert {"cpu", "cores", "python", "torch"} <= set(report["machine"])
    bench.run_bench("point_world", as_json=False)
    assert ("met" if met else "missed") in capsys.readouterr().out


def test_an_unknown_bench_names_the_known_ones() -> None:
    known = ", ".join(bench.BENCHES)
    with pytest.raises(UserError, match=rf"warp.*{known}"):
        bench.run_bench("warp", as_json=False)


def test_rows_are_a_table_of_their_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sortie_expert import expert_benchmark

    monkeypatch.setattr(expert_benchmark, "SIZES", ((4, 3, 2), (5, 3, 2)))
    monkeypatch.setattr(expert_benchmark, "_MISSIONS", 12)
    bench.run_bench("expert", as_json=True)
    report = json.loads(capsys.readouterr().out)
    rows = report["figures"]["rows"]
    assert {(row["agents"], row["consumers"], row["resources"]) for row in rows} == {(4, 3, 2), (5, 3, 2)}
    assert len(rows) == 2 * (len(expert_benchmark._SOLVERS) + 2)
    for row in rows:
        assert 0 < row["ms_median"] <= row["ms_most"]
        assert -1e-6 <= row["gap_mean"] <= row["gap_most"] < 1
        assert 0 <= row["proved_share"] <= 1
    searches = [row["gap_mean"] for row in rows if row["method"].startswith("local search")]
    assert searches[1] <= searches[0] + 1e-6
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(expert_benchmark, "SIZES", ((3, 2, 1),))
    bench.run_bench("expert", as_json=False)
    shown = capsys.readouterr().out
    assert "outer approximation by HiGHS" in shown
    assert "local search" in shown
