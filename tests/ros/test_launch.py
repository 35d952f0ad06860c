"""`ros2 launch` flies the same missions as the runner."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Missions

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(shutil.which("ros2") is None, reason="ros2 launch needs a ROS installation, it is not on PyPI"),
]

LAUNCH_FILE = Path(__file__).parents[2] / "launch" / "delivery.launch.py"


def ros2_launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ros2", "launch", str(LAUNCH_FILE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90)


def test_its_mission_is_the_runners(missions: Missions, tmp_path: Path) -> None:
    command = missions.command("runner")
    overrides = command[command.index("--") + 1 :]
    launched = ros2_launch("lockstep:=true", f"overrides:={' '.join(overrides)}", f"out:={tmp_path / 'launch'}")
    assert launched.returncode == 0, launched.stdout + launched.stderr
    flown = missions.fly("runner")
    summary = json.loads((tmp_path / "launch" / "summary.json").read_text())
    assert summary["config_hash"] == flown.summary["config_hash"]
    with np.load(tmp_path / "launch" / "trajectory.npz") as file:
        for name, values in flown.trajectory.items():
            np.testing.assert_array_equal(file[name], values, err_msg=name)


def test_a_mission_that_fails_ends_it_with_another_exit_code(missions: Missions) -> None:
    command = missions.command("runner", "ros.success_fraction=1.0", "task.duration_s=1")
    launched = ros2_launch("lockstep:=true", f"overrides:={' '.join(command[command.index('--') + 1 :])}")
    assert launched.returncode == 1
    assert "ended with exit code 1" in launched.stdout + launched.stderr


def test_parts_that_are_launched_apart_fly_one_mission_from_any_folder(missions: Missions, tmp_path: Path) -> None:
    command = missions.command("parts")
    overrides = f"overrides:={' '.join(command[command.index('--') + 1 :])}"
    installed = ["ros2", "launch", "sortie_bringup", "delivery.launch.py", overrides, "lockstep:=true"]
    agents = [subprocess.Popen([*installed, f"only:={drones}"], cwd=tmp_path) for drones in ("0,2", "1,3")]
    world = subprocess.run([*installed, "only:=world", f"out:={tmp_path}"], cwd=tmp_path, timeout=90)
    for each in agents:
        each.send_signal(signal.SIGINT)
    assert [each.wait(30) for each in agents] == [0, 0]
    assert world.returncode == 0
    assert json.loads((tmp_path / "summary.json").read_text())["faults"] == []


def test_bad_input_is_named_before_anything_starts() -> None:
    launched = ros2_launch("overrides:=comm.radus_m=3")
    assert launched.returncode == 1
    assert "comm.radius_m" in launched.stdout + launched.stderr
    assert "process started" not in launched.stdout + launched.stderr


def test_every_argument_is_described() -> None:
    shown = ros2_launch("--show-args").stdout
    for argument in ("config", "overrides", "lockstep", "view", "only", "out"):
        assert f"'{argument}':\n        " in shown
    assert "no description given" not in shown
