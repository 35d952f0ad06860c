"""Every trained method by every training seed, several trainings at a time.

Each has a folder of its own, as `sortie train` makes it, with ``train.log`` and, once it is over, ``finished``. A sweep
that was killed goes on: what is finished is skipped, and what was begun goes on from its saved state.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sortie_core.config import UserError, content_hash
from sortie_core.files import write_atomically
from sortie_core.processes import follow_parent, kill, one_thread_each
from sortie_policy.checkpoint import load_metadata
from sortie_train import run_state

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from rich.progress import TaskID

    from sortie_core.config import Config

_POLL_S = 5.0
_SPEED_WINDOW_S = 3600.0
"""Remaining time is estimated from this long: checkpoints, which tell the progress, are rare."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One training of a sweep: a method by a seed.

    Attributes:
        name: method and seed.
        config: what it is trained with.
        folder: of the run.
    """

    name: str
    config: Config
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether it is over."""
        return (self.folder / "finished").exists()

    @property
    def share(self) -> float:
        """How much of it is in its last checkpoint, 0 .. 1."""
        try:
            updates = load_metadata(self.folder / "policy.ckpt")["updates"]
        except UserError:
            return 0.0
        train = self.config.train
        ticks = updates * train.n_envs * train.decisions_per_rollout * self.config.policy.decision_steps
        return min(1.0, ticks / train.total_steps)

    @property
    def last_words(self) -> str:
        """The last line of its log."""
        try:
            lines = (self.folder / "train.log").read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return "it wrote nothing"
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def plan_trainings(config: Config, out: Path) -> list[Trial]:
    """The trainings of a sweep: of each seed all the methods, so that an early end leaves whole seeds.

    Args:
        config: `evaluation.learned` and `evaluation.train_seeds`; without any, `seed`.
        out: the sweep's folder, which need not exist.

    Raises:
        UserError: nothing to train, a changed key that is none, or a run in the folder with another configuration.
    """
    evaluation = config.evaluation
    if not evaluation.learned:
        raise UserError("evaluation.learned: names no method; there is nothing to train")
    trainings = [
        Trial(f"{method}-{seed}", _training_config(config, method, seed), out / f"{method}-{seed}")
        for seed in evaluation.train_seeds or [config.seed]
        for method in evaluation.learned
    ]
    for training in trainings:
        _check_same(training)
    return trainings


def evaluation_overrides(config: Config, out: Path) -> list[str]:
    """What is changed in the sweep's configuration to evaluate what it has trained."""
    evaluation = config.evaluation
    references = [method for method in evaluation.methods if method not in evaluation.learned]
    overrides = [f"evaluation.checkpoints={out}/{{method}}-{{seed}}/policy.ckpt"]
    if not evaluation.learned.keys() <= set(evaluation.methods):
        overrides.append(f"evaluation.methods=[{', '.join([*evaluation.learned, *references])}]")
    if not evaluation.train_seeds:
        overrides.append(f"evaluation.train_seeds=[{config.seed}]")
    if evaluation.ask:
        overrides.append("evaluation.ask=[]")
    return overrides


def sweep(trainings: list[Trial], jobs: int, wandb: str = "") -> list[Trial]:
    """Run what is not finished yet; the failure of one does not stop the others.

    Args:
        trainings: from `plan_trainings`.
        jobs: at the same time.
        wandb: project of Weights & Biases that they are told to; empty for none.

    Returns:
        Those that failed.
    """
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, speed_estimate_period=_SPEED_WINDOW_S) as progress:
        one_thread_each()
        crew = _Crew(trainings, progress, wandb)
        try:
            while crew.waiting or crew.running:
                while crew.waiting and len(crew.running) < jobs:
                    crew.start()
                crew.look()
        except BaseException:
            for process in crew.running.values():
                kill(process)
            raise
    return crew.failed


class _Crew:
    """Trainings that wait, run, or failed, and their lines of progress."""

    def __init__(self, trainings: list[Trial], progress: Progress, wandb: str) -> None:
        self.waiting = [each for each in trainings if not each.finished]
        self.running: dict[Trial, BaseProcess] = {}
        self.failed: list[Trial] = []
        self._progress, self._count, self._wandb = progress, len(trainings), wandb
        self._over = len(trainings) - len(self.waiting)
        self._bars: dict[Trial, TaskID] = {}
        self._began_s: dict[Trial, float] = {}
        self._total = progress.add_task("", total=self._count)
        self._spawning = multiprocessing.get_context("spawn")
        if self._over:
            progress.console.print(f"{self._over} of {self._count} trainings are finished already")

    def start(self) -> None:
        """Begin, or go on with, the next one."""
        training = self.waiting.pop(0)
        training.folder.mkdir(parents=True, exist_ok=True)
        resume = (training.folder / run_state.NAME).exists()
        arguments = training.config, training.folder, resume, self._wandb
        process = self._spawning.Process(target=_train, args=arguments)
        process.start()
        self.running[training] = process
        self._began_s[training] = time.monotonic()
        self._bars[training] = self._progress.add_task(training.name, total=1.0)

    def look(self) -> None:
        """Wait a little, show how far they are, and let go of those that ended."""
        wait([process.sentinel for process in self.running.values()], timeout=_POLL_S)
        for training, process in list(self.running.items()):
            self._progress.update(self._bars[training], completed=training.share)
            if process.exitcode is not None:
                self._end(training, process.exitcode)
        done = self._over + sum(training.share for training in self.running)
        self._progress.update(self._total, completed=done, description=f"{self._over} of {self._count} trainings")

    def _end(self, training: Trial, exit_code: int) -> None:
        del self.running[training]
        self._progress.remove_task(self._bars.pop(training))
        self._over += 1
        good = exit_code == 0 and training.finished
        if not good:
            self.failed.append(training)
        minutes = (time.monotonic() - self._began_s[training]) / 60
        self._progress.console.print(
            f"{training.name} {'is finished' if good else f'failed (exit code {exit_code})'} after {minutes:.1f} min, "
            f"{self._over} of {self._count}"
        )


def _train(config: Config, folder: Path, resume: bool, wandb: str) -> None:
    """A training in this process, which is its own; what it prints goes to its log."""
    follow_parent()
    with (folder / "train.log").open("ab", buffering=0) as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    from sortie_train.progress_lines import ProgressLines
    from sortie_train.train import train
    from sortie_train.wandb_log import wandb_logs

    try:
        train(config, folder, resume, [*wandb_logs(wandb), ProgressLines()])
    except UserError as error:
        print(f"sortie: {error}", file=sys.stderr)
        sys.exit(2)
    write_atomically(folder / "finished", config.hash())


def _training_config(config: Config, method: str, seed: int) -> Config:
    """The configuration of one training, which does not change when others join the table."""
    alone = {
        "evaluation.suites": {"training": {}},
        "evaluation.questions": {},
        "evaluation.ask": [],
        "evaluation.n_agents": [],
        "evaluation.methods": [method],
        "evaluation.most_agents": {},
        "evaluation.learned": {method: {}},
        "evaluation.train_seeds": [],
        "evaluation.checkpoints": "policy.ckpt",
    }
    changes = config.evaluation.learned[method]
    return config.changed(changes | {"seed": seed} | alone, f"evaluation.learned.{method}")


def _check_same(training: Trial) -> None:
    """Refuse to go on with a run of another configuration."""
    path = training.folder / "config.yaml"
    if not path.exists():
        return
    try:
        earlier = content_hash(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path} ({error}); delete the folder of this run") from None
    if earlier != training.config.hash():
        raise UserError(
            f"{training.folder} was trained with configuration {earlier}, this is {training.config.hash()}; "
            "give the keys that it was begun with, delete it, or name a new --out"
        )
