"""`pip install .` brings all that runs without ROS, whatever folder it is used from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from sortie_cli.environment import RECORD

PROJECT = Path(__file__).resolve().parents[2]
SHORT = ["team.n_agents=4", "task.duration_s=3"]
SHIPPED = sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "configs").rglob("*") if path.is_file())


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """In the environment of a shell in which nothing is sourced."""
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    environment |= {"PATH": os.defpath, "NO_COLOR": "1", "COLUMNS": "120", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the distribution is built from; builds leave traces where they are made."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("sim", "learning", "configs"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder)
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    pip("wheel", "--no-index", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from an sdist, as an index would hold it."""
    folder = tmp_path_factory.mktemp("dist")
    make = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    done = run([sys.executable, "-c", make], sources)
    assert done.returncode == 0, done.stderr
    (sdist,) = folder.glob("*.tar.gz")
    return build_wheel(sdist, folder)


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel, that sees the packages which the distribution asks for."""
    fresh = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    # a path in a .pth file: what is installed there in editable mode, as sortie itself is, stays unseen
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (fresh / "lib" / python / "site-packages" / "asked_for.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("--python", str(fresh / "bin" / "python"), "install", "--no-index", "--no-deps", str(wheel))
    return fresh / "bin"


def test_every_package_and_every_shipped_file_is_in_the_distribution(
    wheel: Path, sources: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"sortie_{name}" for name in SHIPPED} <= names
    modules = {
        path.relative_to(PROJECT / room).as_posix()
        for room in ("sim", "learning")
        for path in (PROJECT / room).glob("sortie_*/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert modules <= names
    with zipfile.ZipFile(build_wheel(sources, tmp_path)) as archive:
        assert set(archive.namelist()) == names, "the same without the sdist between"


def test_it_is_used_without_the_checkout(bin_folder: Path, tmp_path: Path) -> None:
    show = "import sortie_core, sortie_cli, sortie_view; from sortie_core.shipped import CHECKOUT; print(CHECKOUT)"
    show += "; print(*(each.__file__ for each in (sortie_core, sortie_cli, sortie_view)), sep='\\n')"
    checkout, *files = run([str(bin_folder / "python"), "-c", show], tmp_path).stdout.split()
    assert checkout == "None"
    assert all(Path(each).is_relative_to(bin_folder.parent) for each in files), files


def test_every_shipped_configuration_loads_by_its_name(bin_folder: Path, tmp_path: Path) -> None:
    load = "import sys; from sortie_cli.configurations import load_any\nfor name in sys.argv[1:]: load_any(name)"
    names = [name for name in SHIPPED if name.endswith(".yaml")]
    assert len(names) > 10
    done = run([str(bin_folder / "python"), "-c", load, *names], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "configs/delivery.yaml", *SHORT, "evaluation.n_layouts=2", "evaluation.methods=[lgtc, greedy]"],
        [
            "cluster", "configs/cluster.yaml", "trace.n_jobs=500", "arrivals.n_tasks=60", "comparison.seeds=2",
            "comparison.bootstrap_samples=50", "comparison.policies=[rec, lgtc]",
        ],
        [
            "train", "configs/scarce.yaml", *SHORT, "policy.hidden=8", "policy.mlp_width=16", "policy.key_dim=8",
            "train.total_steps=300", "train.n_envs=8", "train.scenarios=[{}]",
        ],
        ["train", "configs/delivery.yaml", *SHORT, "train.total_steps=300", "train.n_envs=8", "train.scenarios=[{}]"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)  # fmt: skip
def test_commands_run_in_an_empty_folder(bin_folder: Path, tmp_path: Path, arguments: list[str]) -> None:
    done = run([str(bin_folder / "sortie"), *arguments, "--out", "out", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["sim", "configs/delivery.yaml"], ["fly", "configs/flight/mavlink.yaml"], ["bench", "lockstep_mission"]],
)
def test_what_needs_ros_says_how_to_get_it(bin_folder: Path, tmp_path: Path, arguments: list[str]) -> None:
    done = run([str(bin_folder / "sortie"), *arguments], tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for part in ("no ROS 2 with Sortie's workspace", "make setup", "source a ROS workspace"):
        assert part in done.stderr


def test_the_doctor_knows_that_there_is_no_checkout(bin_folder: Path, tmp_path: Path) -> None:
    done = run([str(bin_folder / "sortie"), "doctor", "--json"], tmp_path)
    assert not done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    workspace = rows["ROS workspace"]
    assert (workspace["status"], workspace["required"]) == ("missing", False)
    assert "make setup" in workspace["mend"]
    assert str(bin_folder.parent) in rows["trained policy"]["found"]


@pytest.mark.ros
def test_a_sourced_workspace_is_used(bin_folder: Path, tmp_path: Path) -> None:
    install = PROJECT / "ros2_ws" / "install"
    underlay = json.loads((install / RECORD).read_text(encoding="utf-8"))["underlay"]
    # where ROS comes as wheels, a .pth file of theirs loads these for the environment that they are installed in
    bundled = [underlay["LD_LIBRARY_PATH"], *map(str, Path(sysconfig.get_path("purelib")).glob("ros_*.libs"))]
    underlay["LD_LIBRARY_PATH"] = os.pathsep.join(bundled)
    mission = ["sim", "configs/delivery.yaml", *SHORT, "world.backend=point", "ros.success_fraction=0.01", "--lockstep"]
    script = '. "$1" && shift && exec "$@"'
    command = ["bash", "-c", script, "bash", str(install / "setup.bash"), str(bin_folder / "sortie"), *mission]
    done = run([*command, "--json", "--out", "out"], tmp_path, **underlay)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_agents"] == 4
