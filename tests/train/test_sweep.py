"""Sweeps of trainings: each as `sortie train` does it, in parallel, past failures, and on after a kill."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from sortie_core.config import Config, UserError, load_config
from sortie_policy.checkpoint import load_metadata, load_weights
from sortie_train.flights import plan
from sortie_train.sweep import evaluation_overrides, plan_trainings
from sortie_train.sweep import sweep as train_all
from sortie_train.train import train

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

TINY = [
    "train.n_envs=4", "train.decisions_per_rollout=4", "train.total_steps=480", "train.scenarios=[{team.n_agents: 3}]",
    "train.epochs=1", "train.minibatches=2", "train.checkpoint_every=1", "train.imitation_updates=1",
    "expert.bank_layouts=2", "evaluation.n_layouts=2", "evaluation.train_seeds=[]", "evaluation.n_agents=[3]",
]  # fmt: skip
"""6 updates."""


@pytest.fixture
def tiny(configured: Callable[..., Config]) -> Callable[..., Config]:
    def load(*overrides: str) -> Config:
        learned = "evaluation.learned={lgtc: {}, lgtc_alone: {policy.exchanges: 0}}"
        return configured(*TINY, learned, "evaluation.methods=[lgtc, greedy, lgtc_alone]", *overrides)

    return load


def weights_of(path: Path) -> np.ndarray:
    return np.concatenate([value.ravel() for value in load_weights(path).values()])


def test_a_killed_sweep_goes_on_to_what_single_trainings_give(
    tiny: Callable[..., Config],
    start_sortie: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, sweep = tiny(), tmp_path / "sweep"
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    process = start_sortie("sweep", "config.yaml", "--out", "sweep")
    deadline = time.monotonic() + 240
    while not all((sweep / name / "train_state.pt").exists() for name in ("lgtc-1", "lgtc_alone-1")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    trainings = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(trainings, timeout=30)[1], "nothing goes on training after a kill"
    done = [load_metadata(sweep / name / "policy.ckpt")["updates"] for name in ("lgtc-1", "lgtc_alone-1")]
    assert min(done) < 6, "it must have been killed on the way"
    assert not (sweep / "lgtc-1" / "finished").exists()

    again = start_sortie("sweep", "config.yaml", "--out", "sweep", "--resume")
    out, err = again.communicate(timeout=280)
    assert again.returncode == 0, err
    assert "lgtc-1 is finished" in err
    assert [path.name for path in sorted(sweep.iterdir())] == ["lgtc-1", "lgtc_alone-1"]
    monkeypatch.chdir(tmp_path)
    alone = train(config.changed({"policy.exchanges": 0}, "lgtc_alone"), tmp_path / "alone")
    assert np.array_equal(weights_of(alone), weights_of(sweep / "lgtc_alone-1" / "policy.ckpt"))

    command = shlex.split(out)
    assert command[:3] == ["sortie", "evaluate", "config.yaml"]
    flights = plan(load_config(command[2], command[3:]))
    assert [each.name for each in flights] == ["scarce-3-lgtc-1", "scarce-3-greedy", "scarce-3-lgtc_alone-1"]

    times = {path: path.stat().st_mtime_ns for path in sweep.rglob("*.ckpt")}
    assert train_all(plan_trainings(config, sweep), jobs=2) == []
    assert {path: path.stat().st_mtime_ns for path in sweep.rglob("*.ckpt")} == times


def test_a_failure_stops_no_other_and_is_told_at_the_end(
    tiny: Callable[..., Config], start_sortie: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    odd = "evaluation.learned={odd: {policy.network: 'no.such:Net'}, lgtc: {}}"
    config = tiny(odd, "evaluation.methods=[odd, lgtc]", "train.total_steps=80")
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    process = start_sortie("sweep", "config.yaml", "--out", "sweep")
    out, err = process.communicate(timeout=280)
    assert process.returncode == 1, err
    assert (tmp_path / "sweep" / "lgtc-1" / "finished").exists()
    assert out == "", "what is not whole is not to be evaluated"
    told = [line for line in err.splitlines() if line.startswith("sortie: ")]
    assert told[0].startswith("sortie: sweep/odd-1 failed: sortie: policy.network: no.such:Net cannot be imported")
    assert "1 of 2 trainings failed" in told[1]
    assert "sortie sweep config.yaml --out sweep --resume" in told[1]


def test_trainings_come_seed_by_seed_and_do_not_depend_on_the_rest_of_the_table(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    trainings = plan_trainings(tiny("evaluation.train_seeds=[4, 2]"), tmp_path)
    assert [each.name for each in trainings] == ["lgtc-4", "lgtc_alone-4", "lgtc-2", "lgtc_alone-2"]
    assert [each.config.seed for each in trainings] == [4, 4, 2, 2]
    assert [each.config.policy.exchanges for each in trainings] == [3, 0, 3, 0]
    assert [each.folder for each in trainings] == [tmp_path / each.name for each in trainings]
    fewer = tiny("evaluation.train_seeds=[2]", "evaluation.methods=[greedy]", "evaluation.learned={lgtc: {}}")
    assert [each.config for each in plan_trainings(fewer, tmp_path)] == [trainings[2].config]
    assert evaluation_overrides(fewer, Path("out")) == [
        "evaluation.checkpoints=out/{method}-{seed}/policy.ckpt", "evaluation.methods=[lgtc, greedy]"
    ]  # fmt: skip
    assert evaluation_overrides(fewer.override(["evaluation.ask=[radius]"]), Path("out"))[-1] == "evaluation.ask=[]"


def test_what_cannot_be_trained_is_refused_in_one_line(tiny: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to train"):
        plan_trainings(tiny("evaluation.learned={}"), tmp_path)
    with pytest.raises(UserError, match="evaluation.learned.lgtc: .*policy.exchange;"):
        plan_trainings(tiny("evaluation.learned={lgtc: {policy.exchange: 1}}"), tmp_path)
    training = plan_trainings(tiny(), tmp_path)[0]
    training.folder.mkdir()
    (training.folder / "config.yaml").write_text(training.config.to_yaml(), encoding="utf-8")
    assert plan_trainings(tiny(), tmp_path)
    with pytest.raises(UserError, match="lgtc-1 was trained with configuration"):
        plan_trainings(tiny("train.learning_rate=0.5"), tmp_path)
    (training.folder / "config.yaml").write_text("seed: [", encoding="utf-8")
    with pytest.raises(UserError, match="cannot read"):
        plan_trainings(tiny(), tmp_path)
