"""Trainings on a terminal: live, from elsewhere, several at a time; and the terminal is as it was afterwards."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from sortie_core.config import UserError
from sortie_core.training import STEPS_PER_S, Curves, Training
from sortie_train.training_log import TrainingLog
from sortie_view.braille import curve
from sortie_view.training_dashboard import Moment, TrainingDashboard, dashboard
from sortie_view.training_data import TrainingReader, training_folders
from sortie_view.training_watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

CONFIG = Path(__file__).parents[2] / "configs" / "delivery.yaml"
TINY = [
    "train.n_envs=4", "train.decisions_per_rollout=4", "train.scenarios=[{team.n_agents: 2}]", "train.epochs=1",
    "train.minibatches=2", "train.checkpoint_every=1", "train.imitation_updates=1", "expert.bank_layouts=4",
    "policy.hidden=8", "policy.mlp_width=16", "policy.key_dim=8", "task.duration_s=2.0", "evaluation.n_layouts=1",
]  # fmt: skip
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
TRAINING = Training("ippo", "updates", 8, ("train/delivered", "train/return", "loss/policy", "loss/value"), {"seed": 1})


def written(folder: Path, updates: int, training: Training = TRAINING) -> Path:
    """A training that has told of so many updates."""
    with TrainingLog(training, folder, 0) as log:
        for update in range(1, updates + 1):
            log.tell(
                update,
                {"train/delivered": update / 10, "train/return": -1.0, "loss/policy": 0.01, "loss/value": 1 / update,
                 "policy/entropy": 1.25, STEPS_PER_S: 12345.0},
            )  # fmt: skip
    return folder


def drawn(shown: RenderableType, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), record=True, width=width, height=40)
    console.print(shown)
    return console.export_text().splitlines()


def watched(*paths: Path, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), record=True, width=width, height=40)
    watch(paths, console, 1.0)
    return console.export_text().splitlines()


def test_a_figure_whose_points_are_all_void_is_not_there(tmp_path: Path) -> None:
    """Killed after the first checkpoint, and gone on from it: what was told only later has a name, but no value."""
    with TrainingLog(TRAINING, tmp_path, 0) as log:
        log.tell(1, {"loss/policy": 0.5})
        log.tell(2, {"loss/policy": 0.4, "train/delivered": 0.3})
    with TrainingLog(TRAINING, tmp_path, 1):
        pass
    curves = TrainingReader(tmp_path).read()
    assert curves and "loss/policy" in curves.figures and "train/delivered" not in curves.figures
    told = Curves(TRAINING, tmp_path, {"train/delivered": {2: 0.3}})
    told.cut(1)
    assert "no figure yet" in "".join(drawn(dashboard(Moment(told, 0.0), 24, 100)))


def test_before_the_first_update_nobody_knows_what_is_left(tmp_path: Path) -> None:
    moment = Moment(Curves(TRAINING, tmp_path), 3.0, live=True)
    assert "0:00:03 spent, -:--:-- left" in "".join(drawn(dashboard(moment, 24, 100)))


def test_a_curve_goes_from_its_least_to_its_largest_value() -> None:
    assert curve([0.0, 1.0, 2.0, 3.0], 2, 1) == ["⡠⠊"]
    assert curve([3.0, 2.0, 1.0, 0.0], 2, 1) == ["⠑⢄"]
    assert curve([], 3, 2) == ["⠀⠀⠀"] * 2
    assert curve([5.0], 2, 1) == curve([-1.0, -1.0], 2, 1) == ["⠒⠒"]
    many = curve(np.sin(np.linspace(0, 6, 1000)).tolist(), 20, 4)
    assert [len(line) for line in many] == [20] * 4
    assert all(any(line[k] != "⠀" for line in many) for k in range(20)), "there are no gaps"
    assert curve([0.0, 0.0, 1.0, 1.0], 2, 2) == ["⠀⡏", "⣀⠇"], "a jump is a line from bottom to top"


def test_the_dashboard_shows_progress_curves_figures_and_where_to_see_more(tmp_path: Path) -> None:
    lines = watched(written(tmp_path / "mine", 4))
    text = "\n".join(lines)
    assert len(lines) <= 39
    assert {len(line) for line in lines} == {100}
    assert "ippo · " in lines[0]
    assert re.search(r"updates 4/8 +0:00:00 spent, 0:00:00 left +12,345 steps/s +training", lines[2])
    for name, value in (("train/delivered", "0.4"), ("train/return", "-1"), ("loss/value", "0.25")):
        assert re.search(rf"{name} +{value} ", text), name
    assert re.search(r"^. +0\.4 ⠀+.*[⠁-⣿]", lines[4]), "the largest value stands beside the top"
    assert "policy/entropy 1.25" in text
    assert "tensorboard --logdir" in text
    assert "no figure yet" in "\n".join(watched(written(tmp_path / "begun", 0)))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 5)])
def test_the_dashboard_fits_into_any_terminal(tmp_path: Path, width: int, height: int) -> None:
    curves = Curves(TRAINING, tmp_path)
    for update in range(1, 5):
        curves.add(update, {name: update / 7 for name in TRAINING.headline})
    lines = drawn(dashboard(Moment(curves, 0.0), height, width), width)
    assert len(lines) == max(8, min(32, height))
    assert {len(line) for line in lines} == {width}


def test_who_says_nothing_for_long_is_told_of(tmp_path: Path) -> None:
    curves = Curves(TRAINING, tmp_path)
    curves.add(2, {"time/update_s": 100.0})
    assert Moment(curves, 120.0).state == "training", "an update takes that long"
    assert Moment(curves, 600.0).state == "silent for 0:10:00"
    assert Moment(curves, 600.0, live=True).state == "training"
    curves.add(8, {"time/update_s": 100.0})
    assert Moment(curves, 1e6).state == "done"


def test_several_trainings_have_a_line_each(tmp_path: Path) -> None:
    written(tmp_path / "sweep" / "lgtc-1", 4)
    written(tmp_path / "sweep" / "lgtc-2", 8)
    lines = watched(tmp_path / "sweep")
    assert len(lines) == 3
    assert re.match(r"lgtc-1 +4/8 +train/delivered 0\.4 +[⠀-⣿]+ +12,345 +0:00:00 +training", lines[1])
    assert re.match(r"lgtc-2 +8/8 +train/delivered 0\.8 +[⠀-⣿]+ +12,345 +0:00:00 +done", lines[2])
    assert training_folders(tmp_path) == [tmp_path / "sweep" / "lgtc-1", tmp_path / "sweep" / "lgtc-2"]


def test_what_is_no_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no training"):
        watched(tmp_path)
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as other:
        other.add_scalar("accuracy", 0.5, 1)
    with pytest.raises(UserError, match="not of a training of this version"):
        watched(tmp_path)


def test_a_live_dashboard_goes_on_from_what_was_told_before_a_kill(tmp_path: Path) -> None:
    written(tmp_path, 4)
    file = io.StringIO()
    with TrainingLog(
        TRAINING, tmp_path, 2, [TrainingDashboard(Console(file=file, force_terminal=True, width=90))]
    ) as log:
        log.tell(3, {"train/delivered": 0.75})
        log.note("flying")
    last = file.getvalue().rsplit("╭", 1)[1]
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last)
    assert "updates 3/8" in plain
    assert "train/delivered  0.75" in plain
    assert re.search(r" 0\.1 [⠀-⣿]", plain), "the curve begins before the kill"
    assert "flying" in plain
    assert file.getvalue().encode().endswith(b"\n" + SHOW)


class OnTerminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.before = termios.tcgetattr(self._slave)
        self.output = b""
        streams = {"stdin": self._slave, "stdout": self._slave, "stderr": self._slave}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sortie_cli.main", *arguments], cwd=cwd, preexec_fn=self._own_terminal,
            env={**os.environ, "TERM": "xterm-256color"}, **streams,
        )  # fmt: skip

    @staticmethod
    def _own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def read_until(self, done: Callable[[], bool], limit_s: float = 240.0) -> None:
        deadline = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < deadline, self.output[-2000:]
            assert self._process.poll() is None or select.select([self._master], [], [], 0)[0], self.output[-2000:]
            if select.select([self._master], [], [], 0.1)[0]:
                self.output += os.read(self._master, 65536)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Its exit code; the terminal must be as it was."""
        while self._process.poll() is None or select.select([self._master], [], [], 0.1)[0]:
            if select.select([self._master], [], [], 0.1)[0]:
                self.output += os.read(self._master, 65536)
        assert termios.tcgetattr(self._slave) == self.before
        assert self.output.count(HIDE) == self.output.count(SHOW)
        assert self.output.rfind(HIDE) < self.output.rfind(SHOW), "the cursor is back"
        os.close(self._master)
        os.close(self._slave)
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.mark.slow
def test_on_a_terminal_a_training_is_shown_and_interrupted_and_watched_and_goes_on(tmp_path: Path) -> None:
    long = ["train", str(CONFIG), *TINY, "train.total_steps=4000", "--out", "run"]
    state = tmp_path / "run" / "train_state.pt"
    training = OnTerminal(*long, cwd=tmp_path)
    try:
        training.read_until(lambda: state.exists() and re.search(rb"updates [1-9]\d*/50", training.output) is not None)
        training.type(b"\x03")
        assert training.end() == 130
    finally:
        training.kill()
    assert b"train/delivered" in training.output
    text = training.output.decode(errors="replace").replace("\r\n", "\n")  # its echo of ^C may part a character
    shown, said = text.rsplit(SHOW.decode(), 1)
    assert shown.rstrip().endswith("╯\x1b[0m"), "what was last shown stays, whole"
    assert said.startswith("sortie: interrupted; go on with: sortie train")
    assert "Traceback" not in text

    seen = OnTerminal("watch", "run", cwd=tmp_path)
    try:
        seen.read_until(lambda: seen.output.count(b"tensorboard --logdir run") >= 2)
        seen.type(b"\x03")
        assert seen.end() == 0
    finally:
        seen.kill()
    assert b"Traceback" not in seen.output

    resumed = OnTerminal(*long, "--resume", cwd=tmp_path)
    try:
        assert resumed.end() == 0
    finally:
        resumed.kill()
    assert b"updates 50/50" in resumed.output
    assert b"fly it: sortie sim CONFIG" in resumed.output.rsplit(SHOW, 1)[1]


def test_without_a_terminal_there_are_lines_and_watching_looks_once(tmp_path: Path) -> None:
    def sortie(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sortie_cli.main", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)

    done = sortie("train", str(CONFIG), *TINY, "train.total_steps=240", "--out", "run")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(("updates", "evaluate"))]
    assert lines[0].startswith("updates 1/3, train/")
    assert any(line.startswith("updates 3/3, ") and line.endswith("done") for line in lines)
    assert lines[-1].startswith("evaluate/delivered_pybullet ")
    assert "\x1b" not in done.stderr
    looked = sortie("watch", "run")
    assert looked.returncode == 0, looked.stderr
    assert "updates 3/3" in looked.stdout
    refused = sortie("watch", "nowhere")
    assert refused.returncode == 2
    assert refused.stderr.startswith("sortie: nowhere holds no training")
