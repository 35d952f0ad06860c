"""What the tests of the evaluation share: policies that were never trained, in checkpoints as training writes them."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from sortie_core.config import Config, load_config
from sortie_policy.checkpoint import STAGES, write_checkpoint
from sortie_policy.team_policy import make_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
SMALL = ["policy.hidden=8", "policy.mlp_width=16", "policy.key_dim=8"]


@pytest.fixture
def configured() -> Callable[..., Config]:
    """The comparison's configuration, for teams of 4 and a mission of 3 s, with overrides."""

    def load(*overrides: str, path: str = "configs/evaluate/main.yaml") -> Config:
        short = ["task.duration_s=3.0", "task.reference_agents=0", "team.n_agents=4", "evaluation.n_layouts=6"]
        return load_config(PROJECT / path, [*SMALL, *short, "evaluation.suites={scarce: {}}", *overrides])

    return load


@pytest.fixture
def start_sortie(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command in a process of its own, in the test's folder; what still runs in the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sortie_cli.main", *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # A shell's background jobs, which the tests may be, ignore interrupts, and so would what they start.
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(command, cwd=tmp_path, text=True, start_new_session=True, preexec_fn=heed, **streams)
        processes.append(process)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def fresh_policies(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where policies with random weights lie, by {method}, lgtc and lgtc_alone, and {seed}, 1 to 3."""
    folder = tmp_path_factory.mktemp("policies")
    shipped = load_config(PROJECT / "configs" / "evaluate" / "main.yaml", SMALL)
    for method, changes in (("lgtc", {}), ("lgtc_alone", {"policy.exchanges": 0})):
        for seed in (1, 2, 3):
            config = shipped.changed({"seed": seed} | changes, method)
            torch.manual_seed(seed)
            policy = make_policy(config)
            weights = {name: value.numpy() for name, value in policy.state_dict().items()}
            path = folder / f"{method}-{seed}.ckpt"
            write_checkpoint(path, config, weights, dict.fromkeys(STAGES, b""), seed=seed, contraction_rate=0.1)
    return f"{folder}/{{method}}-{{seed}}.ckpt"
