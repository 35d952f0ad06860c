"""Several processes under `torchrun` train one policy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sortie_policy.checkpoint import load_metadata, load_weights

CONFIG = Path(__file__).parents[2] / "configs" / "delivery.yaml"
TINY = [
    "train.n_envs=8", "train.decisions_per_rollout=4", "train.total_steps=480", "train.minibatches=2",
    "train.epochs=1", "train.imitation_updates=1", "train.scenarios=[{team.n_agents: 3}, {team.n_agents: 4}]",
    "train.checkpoint_every=1", "task.duration_s=4.0", "reward.guidance=0.2", "expert.bank_layouts=8",
    "evaluation.n_layouts=1", "policy.mlp_width=16", "evaluation.methods=[lgtc]",
]  # fmt: skip


def torchrun(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "sortie_cli.main", "train", str(CONFIG), *TINY, *arguments, "--out", str(out),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def test_two_processes_train_one_policy_and_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = torchrun(out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_metadata(out / "policy.ckpt")["updates"] == 3
    assert done.stderr.count("solving layouts ahead") == 2, "one process solves the layouts of each scenario"
    state = torch.load(out / "train_state.pt", weights_only=False)
    assert len(state["workers"]) == 2
    here, there = (each["collectors"][0]["world"]["position"] for each in state["workers"])
    assert here.shape[0] == 2, "each process steps half of each scenario's environments"
    assert not torch.equal(here, there), "the processes explore apart"
    events = EventAccumulator(str(out)).Reload()
    assert [each.step for each in events.Scalars("time/steps_per_s")] == [1, 2, 3]

    before = load_weights(out / "policy.ckpt")
    again = torchrun(out, "--resume")
    assert again.returncode == 0, again.stderr[-2000:]
    after = load_weights(out / "policy.ckpt")
    assert all((before[name] == after[name]).all() for name in before)


def test_processes_that_cannot_share_say_so(tmp_path: Path) -> None:
    done = torchrun(tmp_path / "run", "train.n_envs=9")
    assert done.returncode != 0
    assert "train.n_envs: 9 cannot be shared evenly by 2 processes" in done.stderr
