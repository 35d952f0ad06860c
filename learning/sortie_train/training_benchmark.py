"""How fast a policy is trained end to end: environments, policy, teacher, update; on one process and on two."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from sortie_core.shipped import shipped
from sortie_core.training import STEPS_PER_S

_CONFIG = shipped("configs/scarce.yaml")
_ENVS = 256
"""Environments of each process, so that twice the processes do twice the work."""
_UPDATES = 8
_OVERRIDES = (
    "train.scenarios=[{team.n_agents: 8}]", "train.n_consumers=[5, 5]", "train.n_resources=[3, 3]",
    "train.decisions_per_rollout=10", "expert.bank_layouts=256", "evaluation.n_layouts=1",
)  # fmt: skip


def run(_seconds: float) -> dict[str, float]:
    """Train for some updates on one process and on two, and compare.

    An environment step is one tick of world.dt_s of one environment with 8 agents.

    Returns:
        env_steps_per_s_1 and _2, the medians over the updates but the first; env_steps_per_s, the larger; and
        weak_scaling, the second over twice the first.
    """
    speeds = [_speed(processes) for processes in (1, 2)]
    return {
        "env_steps_per_s": max(speeds),
        "env_steps_per_s_1": speeds[0],
        "env_steps_per_s_2": speeds[1],
        "weak_scaling": speeds[1] / (2 * speeds[0]),
    }


def _speed(processes: int) -> float:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    envs = _ENVS * processes
    with tempfile.TemporaryDirectory(prefix="sortie-bench-") as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
            "-m", "sortie_cli.main", "train", str(_CONFIG), *_OVERRIDES, f"train.n_envs={envs}",
            f"train.total_steps={_UPDATES * envs * 50}", "--out", str(out),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"training on {processes} processes failed: {done.stderr[-2000:]}")
        speeds = [each.value for each in EventAccumulator(str(out)).Reload().Scalars(STEPS_PER_S)]
    return median(speeds[1:])
