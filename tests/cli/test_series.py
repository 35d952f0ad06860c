"""Many missions by one command: a folder for each, one table, and none is flown twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sortie_cli import series

pytestmark = pytest.mark.ros

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
SMALL = ("world.backend=point", "team.n_agents=2", "task.duration_s=2", "ros.success_fraction=0.0", "seed=7")


def sortie(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sortie_cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_seeds_count_up_and_what_was_flown_is_not_flown_again(tmp_path: Path) -> None:
    out = tmp_path / "series"
    command = ("sim", str(YAML), *SMALL, "--lockstep", "--seeds", "2", "--out", str(out))
    first = sortie(*command, "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert [mission["seed"] for mission in told["missions"]] == [7, 8]
    assert told["mean"]["n_missions"] == 2
    assert json.loads((out / "series.json").read_text()) == told
    assert (out / "series.csv").read_text().startswith("seed,")
    flown = {path: path.stat().st_mtime_ns for path in out.glob("seed-*/summary.json")}
    assert len(flown) == 2
    again = sortie(*command)
    assert again.returncode == 0, again.stderr
    assert "2 missions" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in flown} == flown

    other = sortie(*command, "team.n_agents=3")
    assert other.returncode == 2
    assert "holds the series of `sortie sim" in other.stderr

    # Broken off in the second mission, and gone on with.
    table = told | {"missions": told["missions"][:1]}
    (out / "series.json").write_text(json.dumps(table))
    (out / "seed-8" / "summary.json").unlink()
    assert json.loads(sortie(*command, "--json").stdout)["missions"] == told["missions"]
    assert (out / "seed-8.try-1" / "config.yaml").exists()
    assert (out / "seed-7" / "summary.json").stat().st_mtime_ns == flown[out / "seed-7" / "summary.json"]


def test_who_breaks_off_a_second_time_loses_nothing_that_was_flown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {key: 1 for key, _ in series._COLUMNS.values()} | {"seed": k, "success": True, "reason": ""} for k in (7, 9)
    ]
    (tmp_path / "series.json").write_text(json.dumps({"command": ["sim", "x.yaml"], "missions": rows, "mean": {}}))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(series, "_fly", interrupted)
    with pytest.raises(KeyboardInterrupt):
        series.fly_series("sim", ["x.yaml"], 7, 3, tmp_path, as_json=True)
    assert json.loads((tmp_path / "series.json").read_text())["missions"] == rows


def test_a_mission_that_could_not_be_flown_is_a_row_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "series"
    silent = ("flight.first_port=19990", "team.n_agents=1", "ros.ready_timeout_s=8", "ros.record=false", "--yes")
    done = sortie("fly", str(YAML.parent / "flight" / "cflib.yaml"), *silent, "--seeds", "2", "--out", str(out))
    assert done.returncode == 1, done.stderr
    missions = json.loads((out / "series.json").read_text())["missions"]
    assert [mission["success"] for mission in missions] == [False, False]
    assert all("checklist is red" in mission["reason"] for mission in missions)
    assert "checklist is red" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("fly", str(YAML)),
            "of kind delivery, which `sortie sim` takes",
        ),
        (
            ("sim", str(YAML.parent / "flight" / "cflib.yaml")),
            "of kind flight, which `sortie fly` takes",
        ),
        (("fly", str(YAML.parent / "flight" / "cflib.yaml"), "--seeds", "2"), "add --yes, or flight.peers=true"),
        (("fly", str(YAML.parent / "flight" / "cflib.yaml"), "flight.adress=x"), "did you mean flight.address?"),
        (
            ("fly", str(YAML.parent / "flight" / "cflib.yaml"), "flight.address=udp://localhost:1"),
            "drones 0 and 1 are both at udp://localhost:1",
        ),
        (
            ("fly", str(YAML.parent / "flight" / "mavlink.yaml"), "flight.address=foo:{port}"),
            "no such kind of link; it must be udpin:host:port",
        ),
    ],
)
def test_bad_input_is_said_in_a_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = sortie(*arguments, "--out", str(tmp_path / "flight"))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "flight").glob("*"))
