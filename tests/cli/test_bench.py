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
    with pytest.raises(UserError, match=r"warp.*point_world, pybullet_world, agent_tick, lockstep_mission"):
        bench.run_bench("warp", as_json=False)
