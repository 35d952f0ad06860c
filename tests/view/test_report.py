"""One page that needs nothing beside it, and pictures for papers."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    assert {f"compared-{plot}" for plot in ("delivery", "separation", "messages", "interventions")} <= files
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    assert len(re.findall(r'<img [^>]*src="data:image/png;base64,', page)) == len(files)
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "the page asks for something outside itself"
    assert "drone 1 failed, as its layout has it" in page
    assert "n_agents: 6" in page


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
