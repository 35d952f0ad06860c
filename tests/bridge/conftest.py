"""What the tests of the bridge share: live runs by real processes, in DDS domains of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sortie_cli.environment import free_domain
from sortie_cluster.live_config import LiveConfig
from sortie_core.config import load
from sortie_policy.cluster_checkpoint import write_cluster_policy
from sortie_policy.cluster_policy import ClusterPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

YAML = Path(__file__).parents[2] / "configs" / "cluster_live.yaml"


@dataclass(frozen=True)
class LiveRun:
    """A live run that is over."""

    exit_code: int
    folder: Path
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LiveRun]:
    """A way to start the runner as `sortie cluster` does; `disturb` is called with its process id."""
    checkpoint = tmp_path / "rule.ckpt"
    write_cluster_policy(checkpoint, load(LiveConfig, YAML), ClusterPolicy())
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain()))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

    def run(
        name: str, *overrides: str, flags: tuple[str, ...] = (), disturb: Callable[[int], None] = lambda _: None
    ) -> LiveRun:
        folder = tmp_path / name
        command = [sys.executable, "-m", "sortie_bringup.runner", "--config", str(YAML), "--out", str(folder), *flags]
        process = subprocess.Popen(
            [*command, "--", f"agents.checkpoint={checkpoint}", *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NO_COLOR": "1"},
        )
        try:
            disturb(process.pid)
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.terminate()
        return LiveRun(process.returncode, folder, stdout, stderr)

    return run
