"""What trainings tell: the same figures to everybody who hears, one clean curve after a kill, and the same weights."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sortie_cluster.config import ClusterConfig
from sortie_core.config import Config, UserError, load, load_config
from sortie_core.training import STEPS_PER_S, UPDATE_S, Curves, Training
from sortie_policy.checkpoint import load_metadata, load_weights
from sortie_schedule import evolution, train_q_scheduler
from sortie_train.progress_lines import ProgressLines
from sortie_train.train import train, trainer_of
from sortie_train.training_log import TrainingLog
from sortie_view.training_dashboard import TrainingDashboard
from sortie_view.training_data import TrainingReader

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = [
    "train.n_envs=6", "train.decisions_per_rollout=4", "train.total_steps=720",
    "train.scenarios=[{team.n_agents: 2}, {team.n_agents: 3}]", "train.n_consumers=[2,3]", "train.n_resources=[1,2]",
    "train.epochs=1", "train.minibatches=2", "train.checkpoint_every=2", "train.imitation_updates=1",
    "expert.bank_layouts=4", "policy.hidden=8", "policy.mlp_width=16", "policy.key_dim=8", "task.duration_s=2.0",
    "evaluation.n_layouts=2",
]  # fmt: skip
"""6 updates."""
TRAINING = Training(
    "ippo", "updates", 3, ("train/delivered", "loss/value"), {"comm": {"radius_m": math.inf}, "seed": 1}
)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []
        self.began: list[int] = []
        self.ended: list[bool] = []
        self.notes: list[str] = []

    def begin(self, training: Training, folder: Path, done: int) -> None:
        self.training = training
        self.began.append(done)

    def hear(self, update: int, figures: Mapping[str, float]) -> None:
        self.told.append((update, dict(figures)))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def end(self, failed: bool) -> None:
        self.ended.append(failed)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the expert keeps its solutions."""
    monkeypatch.chdir(tmp_path)


def tiny(*overrides: str) -> Config:
    return load_config(CONFIGS / "delivery.yaml", [*TINY, *overrides])


def events_of(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(point.step, point.value) for point in events.Scalars(name)] for name in events.Tags()["scalars"]
    }  # fmt: skip


def weights_of(path: Path) -> np.ndarray:
    return np.concatenate([value.ravel() for value in load_weights(path).values()])


def test_everybody_hears_the_same_and_weights_do_not_depend_on_who_listens() -> None:
    heard = Heard()
    screen = TrainingDashboard(Console(file=Path("screen").open("w"), force_terminal=True, width=100, height=30))
    watched = train(tiny(), Path("watched"), False, [heard, ProgressLines(0.0), screen])
    assert np.array_equal(weights_of(watched), weights_of(train(tiny(), Path("alone"))))
    assert heard.training.total == 6
    assert heard.training.configuration["train"]["n_envs"] == 6
    assert [update for update, figures in heard.told if UPDATE_S in figures] == [1, 2, 3, 4, 5, 6]
    assert heard.notes[-1] == "2 of 2 unseen layouts flown, pybullet world"
    assert (heard.began, heard.ended) == ([0], [False])
    written = events_of("watched")
    for update, figures in heard.told:
        for name, value in figures.items():
            assert dict(written[name])[update] == pytest.approx(value, rel=1e-6), name
    assert written.keys() == {name for _, figures in heard.told for name in figures}


@pytest.mark.parametrize(
    ("overrides", "own"),
    [
        ([], {"loss/policy", "loss/value", "policy/kl", "expert/agreement", "expert/regret", "expert/imitation_loss"}),
        (["train.algorithm=vdn"], {"loss/td", "policy/value", "policy/exploration"}),
    ],
)
def test_figures_of_a_training_are_complete_and_of_known_groups(overrides: list[str], own: set[str]) -> None:
    checkpoint = train(tiny(*overrides), Path("run"))
    written = events_of("run")
    groups = {"train", "reward", "loss", "policy", "cluster", "expert", "schedule", "evaluate", "time"}
    assert {name.partition("/")[0] for name in written} <= groups
    common = {"train/return", "train/delivered", "train/delivered/1", "reward/demand", "schedule/learning_rate"}
    assert common | own | {UPDATE_S, STEPS_PER_S} <= written.keys()
    assert [update for update, _ in written["train/return"]] == sorted(
        {update for update, _ in written["train/return"]}
    )
    flown = load_metadata(checkpoint)["figures"]
    assert written["evaluate/delivered"] == [(6, pytest.approx(flown["point"]["delivered_mean"]))]
    assert written["evaluate/delivered_pybullet"] == [(6, pytest.approx(flown["pybullet"]["delivered_mean"]))]
    agreement = [value for _, value in written.get("expert/agreement", [])]
    assert all(0 <= value <= 1 for value in agreement)


def test_a_return_is_the_sum_of_an_episodes_rewards() -> None:
    """In missions of two decisions; where agents share nothing, what they learn from is what they earned."""
    config = tiny("train.scenarios=[{team.n_agents: 2}]", "train.decisions_per_rollout=6", "task.duration_s=1.0",
                  "task.supply_ratio=[0.1, 0.1]", "train.cluster_value=false")  # fmt: skip
    trainer = trainer_of(config)(config, Path("run"), False)
    (collector,) = trainer.collectors
    rollouts = [collector.collect(trainer.actor(), 1.0, taught=False) for _ in range(2)]
    earned, ended = (torch.cat([getattr(each, name) for each in rollouts]) for name in ("reward", "ended"))
    returned = [value for each in rollouts for value in each.returned]
    assert len(returned) == int(ended.sum()) > 6
    expected, so_far = [], torch.zeros(6)
    for step, over in zip(earned.mean(-1), ended, strict=True):
        so_far += step
        expected += so_far[over].tolist()
        so_far[over] = 0.0
    assert returned == pytest.approx(expected, abs=1e-6)
    assert any(returned)


@pytest.mark.slow
def test_a_killed_training_that_goes_on_has_one_clean_curve() -> None:
    config = tiny("train.total_steps=2880", "task.duration_s=4.0")
    Path("config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    command = [sys.executable, "-m", "sortie_cli.main", "train", "config.yaml", "--out", "run"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    reader, deadline = TrainingReader(Path("run")), time.monotonic() + 120
    while not (Path("run").is_dir() and (curves := reader.read()) and curves.done >= 5 and curves.done % 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = TrainingReader(Path("run")).read()
    assert before is not None and 5 <= before.done < 24
    train(config, Path("run"), resume=True)
    train(config, Path("whole"))
    resumed, whole = events_of("run"), events_of("whole")
    assert len(list(Path("run").glob("events.out.tfevents.*"))) == 2
    assert resumed.keys() == whole.keys()
    assert [update for update, _ in resumed[UPDATE_S]] == list(range(1, 25))
    for name in whole:
        if not name.startswith("time/"):
            assert resumed[name] == whole[name], name


def test_the_text_of_a_training_says_all_about_it(tmp_path: Path) -> None:
    with TrainingLog(TRAINING, tmp_path, 0) as log:
        log.tell(1, {"train/delivered": 0.5, "loss/value": math.nan})
    curves = TrainingReader(tmp_path).read()
    assert curves is not None
    assert curves.training == TRAINING
    assert curves.figures.keys() == {"train/delivered", UPDATE_S}, "what is no number is not written"


def test_who_breaks_a_training_off_is_told_of_and_nobody_stays_open(tmp_path: Path) -> None:
    heard = Heard()

    class Refusing(Heard):
        def begin(self, training: Training, folder: Path, done: int) -> None:
            raise UserError("no")

    refusing, late = Refusing(), Heard()
    with pytest.raises(UserError, match="no"), TrainingLog(TRAINING, tmp_path, 0, [heard, refusing, late]):
        pass
    assert (heard.ended, refusing.ended, late.ended, late.began) == ([True], [True], [], [])
    with pytest.raises(KeyboardInterrupt), TrainingLog(TRAINING, tmp_path, 0, [late]):
        raise KeyboardInterrupt
    assert late.ended == [True]
    silent = Heard()
    with TrainingLog(TRAINING, tmp_path / "none", 0, [silent], leads=False) as log:
        log.tell(1, {"train/delivered": 0.5})
    assert not silent.told
    assert not (tmp_path / "none").exists()


def test_curves_know_what_is_left_and_what_was_best(tmp_path: Path) -> None:
    curves = Curves(TRAINING, tmp_path)
    assert math.isnan(curves.left_s)
    assert (curves.done, curves.last("train/delivered"), curves.best("train/delivered")) == (0, None, None)
    for update, value in ((1, 0.5), (2, 0.7), (3, 0.6)):
        curves.add(update, {"train/delivered": value, UPDATE_S: 2.0})
    assert (curves.done, curves.spent_s, curves.left_s) == (3, 6.0, 0.0)
    assert curves.best("train/delivered") == (2, 0.7)
    curves.cut(1)
    assert (curves.done, curves.left_s, curves.last("train/delivered")) == (1, 4.0, 0.5)


def test_lines_come_first_last_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines(every_s=3600.0)
    lines.begin(TRAINING, Path("run"), 0)
    for update in (1, 2, 3):
        lines.hear(update, {"train/delivered": update / 4, STEPS_PER_S: 12345.0, UPDATE_S: 60.0})
        lines.note("flying")
    lines.hear(3, {"evaluate/delivered": 0.75})
    first, last, evaluated = capsys.readouterr().err.splitlines()
    assert first == "updates 1/3, train/delivered 0.25, time/steps_per_s 12,345, 0:02:00 left"
    assert last == "updates 3/3, train/delivered 0.75, time/steps_per_s 12,345, done"
    assert evaluated == "evaluate/delivered 0.75"


def test_clusters_agents_and_routers_tell_the_same_way(tmp_path: Path) -> None:
    short = ["trace.n_jobs=2000", "training.pairs=2", "training.linear_generations=1", "training.generations=1",
             "training.checkpoint_every=1", "training.scenarios=[{arrivals.n_tasks: 100}]"]  # fmt: skip
    heard = Heard()
    config = load(ClusterConfig, CONFIGS / "cluster.yaml", short)
    evolution.train(config, tmp_path / "agents", jobs=1, listeners=[heard])
    assert [update for update, _ in heard.told] == [1, 2]
    written = events_of(tmp_path / "agents")
    assert {"train/return", "policy/gradient_norm", "schedule/learning_rate", UPDATE_S, STEPS_PER_S} <= written.keys()
    told = (tmp_path / "agents" / "history.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[1]) for line in told] == pytest.approx(
        [value for _, value in written["train/return"]], abs=1e-5
    )

    ring = (
        "trace.n_jobs=800 trace.duration_s=[1,17] cluster.topology=ring cluster.n_nodes=6 cluster.cores=[1] "
        "cluster.memory=[1] cluster.speed=[1,1] arrivals.mode=closed arrivals.whole_slots=true"
    )
    router = train_q_scheduler.QTraining(
        mixer="dqn", graph="none", epochs=2, evaluated_epochs=(1,), updates_per_epoch=5, episode_s=200.0,
        evaluation_seeds=1, evaluation_s=300.0, hidden=8,
    )  # fmt: skip
    train_q_scheduler.train(load(ClusterConfig, CONFIGS / "cluster.yaml", ring.split()), router, tmp_path / "router")
    written = events_of(tmp_path / "router")
    assert [update for update, _ in written["loss/td"]] == [1, 2]
    assert [update for update, _ in written["evaluate/completion_mean_s"]] == [1, 2]
    assert {"train/return", "policy/exploration", UPDATE_S, STEPS_PER_S} <= written.keys()
    curves = TrainingReader(tmp_path / "router").read()
    assert curves is not None
    assert (curves.training.algorithm, curves.training.total) == ("dqn", 2)
    assert curves.training.configuration["training"]["hidden"] == 8


def records_of(file: Path) -> list[Any]:
    """What is in a file of Weights & Biases: 7 bytes of heading, then LevelDB's log of serialised records."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, records, whole = file.read_bytes(), [], b""
    assert data.startswith(b":W&B")
    at = 7
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # no room for another one in this block
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            records.append(Record.FromString(whole))
            whole = b""
    return records


def test_wandb_gets_all_figures_offline_and_goes_on_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from sortie_train.wandb_log import WandbLog

    monkeypatch.setenv("WANDB_MODE", "offline")
    config = tiny()
    half = trainer_of(config)(config, Path("run"), False)
    with half.log([WandbLog("teams")]) as log:
        for _ in range(3):
            figures = half.update()
            log.tell(half.updates_done, figures)
            if half.updates_done == 2:
                half.save()
    resumed = train(config, Path("run"), True, [WandbLog("teams")])
    assert np.array_equal(weights_of(resumed), weights_of(train(config, Path("alone"))))

    found: dict[int, dict[str, float]] = {}
    settings = []
    files = sorted(Path("run/wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for record in (record for file in files for record in records_of(file)):
        if record.HasField("run"):
            settings.append((record.run.project, record.run.run_id, record.run.display_name))
            keys = {item.key: item.value_json for item in record.run.config.update}
            assert json.loads(keys["train"])["n_envs"] == 6
        if record.HasField("history"):
            items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            told = {name: float(text) for name, text in items.items() if not name.startswith("_")}
            found.setdefault(record.history.step.num, {}).update(told)
    assert set(settings) == {("teams", Path("run/wandb_run_id").read_text(), "run")}
    written = events_of("run")
    for name in ("train/return", "loss/value", "evaluate/delivered"):
        assert {step: each[name] for step, each in found.items() if name in each} == pytest.approx(dict(written[name]))


def test_wandb_is_optional(tmp_path: Path) -> None:
    """Where it is not installed, or only a folder has its name: one line, and no run."""
    (tmp_path / "wandb").mkdir()
    hide = (
        "import sys; sys.modules['wandb'] = None; sys.argv = ['sortie', 'train', sys.argv[1], '--out', 'run', "
        "'--wandb', 'teams']; from sortie_cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide, str(CONFIGS / "delivery.yaml")], capture_output=True, text=True, check=False,
        env={**os.environ, "WANDB_MODE": "offline"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == ("sortie: --wandb needs the package wandb: `pip install wandb`; or leave --wandb out\n")
    assert not Path("run").exists()
