"""One page that needs nothing beside it, and pictures for papers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sortie_core.training import Training
from sortie_train.training_log import TrainingLog

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = Callable[..., Path]

PLOTS = {"trajectories", "demand", "subteams", "separation", "messages", "reward", "interventions"}


def report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sortie_cli.main", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_two_missions_are_shown_and_compared(record: Record, tmp_path: Path) -> None:
    one, two = record("one", 30, "team.n_agents=4"), record("two", 50, "team.n_agents=6")
    out = tmp_path / "report"
    done = report(one.parent, two, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "report.html")
    page = (out / "report.html").read_text()
    files = {path.stem for path in out.glob("*.png")}
    assert {f"{run}-{plot}" for run in ("one", "two") for plot in PLOTS} <= files
    assert {f"{plot}-compared" for plot in ("delivery", "separation", "messages", "interventions")} <= files
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    assert len(re.findall(r'<img [^>]*src="data:image/png;base64,', page)) == len(files)
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "the page asks for something outside itself"
    assert "drone 1 failed, as its layout has it" in page
    assert "n_agents: 6" in page


def test_no_run_loses_its_pictures_to_another(record: Record, tmp_path: Path) -> None:
    """Names with dots, and those that the pictures of all runs together might have, are names as others are."""
    for name in ("lr0.1", "lr0.2", "compared", "deep/er", "deep-er"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        record(name, 5, "team.n_agents=2")
    done = report(*(tmp_path / each for each in ("lr0.1", "lr0.2", "compared", "deep")), tmp_path / "deep-er",
                  "--out", tmp_path / "report", "--json")  # fmt: skip
    names = [each["name"] for each in json.loads(done.stdout)["missions"]]
    assert names == ["lr0.1", "lr0.2", "compared", "er", "deep-er"]
    pictures = {path.stem for path in (tmp_path / "report").glob("*.png")}
    together = {"delivery-compared", "separation-compared", "messages-compared", "interventions-compared"}
    assert pictures == {f"{name}-{plot}" for name in names for plot in PLOTS} | together


@pytest.mark.parametrize(
    ("given", "said"),
    [("nothing.mcap", "no recording"), ("empty", "holds no recordings"), ("text.mcap", "no MCAP file")],
)
def test_bad_input_is_one_line_and_leaves_nothing(given: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mcap").write_text("not at all")
    done = report(tmp_path / given, "--out", tmp_path / "report")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert said in line
    assert not (tmp_path / "report").exists()


def trained(folder: Path, seed: int, rate: float, level: float) -> Path:
    """A training of three updates."""
    data = {"seed": seed, "train": {"learning_rate": rate, "n_envs": 8}, "comm": {"radius_m": math.inf}}
    told = Training("ippo", "updates", 3, ("train/delivered", "loss/policy"), data)
    with TrainingLog(told, folder, 0) as log:
        for update, delivered in enumerate((0.1, 0.9, 0.5), start=1):
            log.tell(update, {"train/delivered": level * delivered, "loss/policy": 0.25, "time/steps_per_s": 1000.0})
        log.tell(3, {"evaluate/delivered": level})
    return folder


def test_trainings_are_compared_in_a_table_and_by_their_curves(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    trained(sweep / "one", 1, 0.01, 1.0), trained(sweep / "two", 2, 0.01, 0.5)
    done = report(sweep, "--out", tmp_path / "report", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["differences"] == {"seed": [1, 2]}
    one, two = found["trainings"]
    assert (one["name"], one["done"], one["total"], one["steps_per_s"]) == ("one", 3, 3, 1000.0)
    assert one["best"]["train/delivered"] == {"update": 2, "value": pytest.approx(0.9)}
    assert two["last"]["train/delivered"] == pytest.approx(0.25)
    assert two["last"]["evaluate/delivered"] == pytest.approx(0.5)
    assert one["seconds"] == pytest.approx(one["seconds"]) and one["seconds"] > 0

    page = Path(found["page"])
    assert page == tmp_path / "report" / "report.html"
    pictures = {path.stem for path in page.parent.glob("*.png")}
    assert pictures == {"train-curves", "loss-curves", "evaluate-curves", "time-curves"}
    text = page.read_text()
    assert len(re.findall(r'<img [^>]*src="data:image/png;base64,', text)) == len(pictures)
    assert "2 trainings: one, two" in text
    assert "<td>train/delivered, best</td><td>0.9 at 2</td><td>0.45 at 2</td>" in text
    assert "learning_rate: 0.01" in text

    again = report(sweep / "one", sweep / "two", "--out", tmp_path / "again")
    assert again.stdout.strip() == str(tmp_path / "again" / "report.html")
    assert re.search(r"seed\W+1\W+2\W", again.stderr)
    assert "learning_rate" not in again.stderr, "what is the same in all is not compared"


def test_missions_and_trainings_share_a_page(record: Record, tmp_path: Path) -> None:
    mission = record("flown", 30)
    training = trained(tmp_path / "trained", 1, 0.01, 1.0)
    done = report(mission.parent, training, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report" / "report.html").read_text()
    assert "1 mission: flown" in text and "1 training: trained" in text
    pictures = {path.stem for path in (tmp_path / "report").glob("*.png")}
    assert {"flown-demand", "train-curves"} <= pictures
    assert not re.findall(r'(?:src|href)="(?!data:)', text), "the page asks for something outside itself"


def test_a_training_named_twice_or_without_a_word_is_refused(tmp_path: Path) -> None:
    training = trained(tmp_path / "trained", 1, 0.01, 1.0)
    twice = report(training, training, "--out", tmp_path / "report")
    assert (twice.returncode, "named twice" in twice.stderr) == (2, True)
    with TrainingLog(Training("ippo", "updates", 3, (), {}), tmp_path / "begun", 0):
        pass
    silent = report(tmp_path / "begun", "--out", tmp_path / "report")
    assert (silent.returncode, "has told nothing yet" in silent.stderr) == (2, True)
    assert not (tmp_path / "report").exists()
