#!/usr/bin/env python3
"""Set up everything a fresh clone needs: the virtual environment, the `sortie` distribution and the ROS workspace.

Two ways, chosen by what is sourced in the calling shell:

1. A sourced ROS installation: the environment sees its packages, and only `requirements.txt` is installed.
2. Nothing sourced: ROS 2 comes from PyPI as well (`requirements-ros.txt`, Python 3.11), and the environment is the
   ament prefix.

Each step is skipped while the files it depends on are unchanged, and leaves its stamp last, so that an interrupted
run is continued by the next. Only the standard library is used, since this runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
WORKSPACE = ROOT / "ros2_ws"
SOURCES = WORKSPACE / "src"
INSTALL = WORKSPACE / "install"
RECORD = INSTALL / "sortie_workspace.json"  # read by sortie_cli.environment
PYPI_PYTHON = "3.11"  # the one the ROS wheels on PyPI are built for
FOREIGN = ("crazyflie_interfaces",)  # parts of packages of others; over a whole one, a part would hide the rest
OUTSIDE = {"sortie_bringup": "launch"}  # folders of the project that packages install from
SOURCED = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "ROS_DISTRO", "ROS_VERSION")


class SetupError(Exception):
    """Something is missing on this machine: one line that says what to install."""


def say(line: str) -> None:
    """Print a line of progress at once."""
    print(f"setup: {line}", flush=True)


def digest(paths: list[Path], *texts: str) -> str:
    """Hash of the contents and names of files, and of texts."""
    total = hashlib.sha256("\0".join(texts).encode())
    for path in sorted(paths):
        total.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def read_record() -> dict:
    """What the last complete build of the workspace was made from; empty where there is none."""
    try:
        return json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def rclpy_prefix(underlay: dict[str, str]) -> Path | None:
    """The ROS installation in an ament prefix path, the virtual environment and this workspace left aside."""
    for entry in filter(None, underlay.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        prefix = Path(entry)
        if prefix not in (VENV, INSTALL) and (prefix / "share" / "rclpy" / "package.xml").is_file():
            return prefix
    return None


def find_ros() -> dict[str, str]:
    """The variables of the ROS installation that is sourced, or that the workspace was built on; empty for PyPI's."""
    for underlay in (dict(os.environ), read_record().get("underlay", {})):
        if rclpy_prefix(underlay):
            return {
                name: os.pathsep.join(
                    entry for entry in underlay[name].split(os.pathsep) if entry and not entry.startswith(str(ROOT))
                )
                for name in SOURCED
                if name in underlay
            }
    return {}


def wanted_python(ros: dict[str, str]) -> str:
    """The Python version, as major.minor, that rclpy is built for."""
    prefix = rclpy_prefix(ros)
    if not prefix:
        return PYPI_PYTHON
    for package in sorted(prefix.glob("lib/python3.*/*-packages/rclpy")):
        return package.parent.parent.name.removeprefix("python")
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def venv_fits(python: str, ros: dict[str, str]) -> bool:
    """Whether the environment there is runs, lies where it was made, and is of the wanted Python and way."""
    try:
        lines = (VENV / "pyvenv.cfg").read_text().splitlines()
        settings = dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if "=" in line)
        at_home = str(VENV) in (VENV / "bin" / "pip").read_text()[:500]
    except OSError:
        return False
    system = settings.get("include-system-site-packages") == "true"
    version = settings.get("version", "").startswith(f"{python}.")
    return at_home and version and system == bool(ros) and os.access(VENV_PYTHON, os.X_OK)


def check_machine(python: str) -> None:
    """Raise SetupError unless this interpreter and the compilers can make the environment and build the workspace."""
    if re.search(r"\s", str(ROOT)):
        raise SetupError(f"{ROOT} has blanks in its name, with which scripts cannot name their interpreter; move it")
    this = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if this != python:
        raise SetupError(
            f"Python {python} is needed, {sys.executable} is {this}; install it (Debian 12: apt install python3.11 "
            f"python3.11-venv python3.11-dev; Ubuntu: PPA deadsnakes) and run `make setup PYTHON=python{python}`"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise SetupError(f"no {header}; install Python's headers (Debian, Ubuntu: apt install python{python}-dev)")
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise SetupError(f"Python lacks venv; install it (Debian, Ubuntu: apt install python{python}-venv)") from None
    for variable, language, names in (("CC", "C", ("cc", "gcc", "clang")), ("CXX", "C++", ("c++", "g++", "clang++"))):
        given = os.environ.get(variable, "").split()[:1]
        if not any(shutil.which(name) for name in given or names):
            raise SetupError(f"no {language} compiler; install one (Debian, Ubuntu: apt install build-essential)")


def run(command: list[str], env: dict[str, str], what: str) -> None:
    """Run a step; show its output only if it fails."""
    done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout, end="", file=sys.stderr)
        raise SetupError(f"{what} failed with exit code {done.returncode}; its output is above")


def step_environment(ros: dict[str, str]) -> dict[str, str]:
    """The variables pip and colcon run with."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    env.update(ros or {"AMENT_PREFIX_PATH": str(VENV), "CMAKE_PREFIX_PATH": str(VENV)})
    env.pop("PYTHONHOME", None)
    if not ros:
        env.pop("PYTHONPATH", None)
    env["PATH"] = os.pathsep.join([str(VENV / "bin"), env.get("PATH", os.defpath)])
    env["VIRTUAL_ENV"] = str(VENV)
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return env


def install_packages(ros: dict[str, str], requirements: list[Path], python: str) -> None:
    """Create the virtual environment and install the pinned packages."""
    fits = venv_fits(python, ros)
    check_machine(python)
    if not fits:
        say(f"creating {VENV.relative_to(ROOT)}" + (f" on {rclpy_prefix(ros)}" if ros else ""))
        options = ["--clear", *(["--system-site-packages"] if ros else [])]
        run([sys.executable, "-m", "venv", *options, str(VENV)], dict(os.environ), "creating the virtual environment")
    say("installing the pinned Python packages (minutes the first time)")
    files = [option for path in requirements for option in ("-r", str(path))]
    run([str(VENV_PYTHON), "-m", "pip", "install", *files], step_environment(ros), "pip install")


def mend_wheels(ros: dict[str, str]) -> None:
    """Point the CMake files of the ROS wheels at this interpreter; they name the machine that built them."""
    if ros:
        return
    script = "import sysconfig, numpy; print(sysconfig.get_path('include')); print(numpy.get_include())"
    answer = subprocess.run([str(VENV_PYTHON), "-c", script], check=True, capture_output=True, text=True).stdout
    include, numpy_include = answer.split("\n")[:2]
    for path in VENV.glob("share/*/cmake/*.cmake"):
        old = path.read_text(encoding="utf-8")
        new = re.sub(r"/opt/python/cp\w+-cp\w+/include/python3\.\d+", lambda _: include, old)
        new = re.sub(r"/opt/python/[^;\"]*/site-packages/numpy/_?core/include", lambda _: numpy_include, new)
        if new != old:
            write_atomically(path, new)


def install_distribution(ros: dict[str, str]) -> None:
    """Install the `sortie` distribution so that edits to its sources take effect at once."""
    say("installing sortie in editable mode")
    options = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run([str(VENV_PYTHON), "-m", "pip", "install", *options], step_environment(ros), "pip install --editable")


def installed_elsewhere(ros: dict[str, str]) -> list[str]:
    """Packages of `FOREIGN` that the ROS installation has; they are left out of the build."""
    prefixes = [Path(entry) for entry in ros.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    return [name for name in FOREIGN if any((each / "share" / name / "package.xml").is_file() for each in prefixes)]


def package_digests(left_out: Sequence[str] = ()) -> dict[str, str]:
    """Name and content hash of every package in the workspace that is built."""
    found = {}
    for manifest in sorted(SOURCES.glob("*/package.xml")):
        if manifest.parent.name in left_out:
            continue
        name = manifest.parent.name
        folders = [manifest.parent, *([ROOT / OUTSIDE[name]] if name in OUTSIDE else [])]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        found[name] = digest([path for path in files if "__pycache__" not in path.parts])
    return found


def build_workspace(ros: dict[str, str], platform: str, packages: dict[str, str]) -> None:
    """Build what changed, and what depends on it, and record what it was built from."""
    record = read_record()
    built = record.get("packages", {})
    if record.get("platform") != platform or set(built) - set(packages):
        built = {}
        for folder in (WORKSPACE / "build", INSTALL):
            shutil.rmtree(folder, ignore_errors=True)
    changed = [name for name, content in packages.items() if built.get(name) != content]
    if changed:
        say(f"building {', '.join(changed)}")
        command = [str(VENV_PYTHON), "-m", "colcon", "--log-base", str(WORKSPACE / "log"), "build", "--merge-install"]
        command += ["--base-paths", str(SOURCES), "--build-base", str(WORKSPACE / "build")]
        command += ["--install-base", str(INSTALL), "--packages-above", *changed]
        if left_out := installed_elsewhere(ros):
            command += ["--packages-ignore", *left_out]
        command += ["--event-handlers", "console_direct+", "console_stderr-", "desktop_notification-"]
        command += ["--cmake-args", "--no-warn-unused-cli", "-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"]
        command += [f"-DPython3_EXECUTABLE={VENV_PYTHON}"]
        run(command, step_environment(ros), "colcon build")
    INSTALL.mkdir(exist_ok=True)
    underlay = ros or {"AMENT_PREFIX_PATH": str(VENV), "LD_LIBRARY_PATH": str(VENV / "lib")}
    fresh = {"platform": platform, "packages": packages, "underlay": underlay}
    write_atomically(RECORD, json.dumps(fresh, indent=1))


def set_up(check_only: bool) -> list[str]:
    """Bring every step up to date; the names of the steps that were not."""
    ros = find_ros()
    python = wanted_python(ros)
    requirements = [ROOT / "requirements.txt", *([] if ros else [ROOT / "requirements-ros.txt"])]
    platform = digest(requirements, python, str(ROOT), str(rclpy_prefix(ros)))
    inits = sorted(str(path) for folder in ("sim", "learning") for path in ROOT.glob(f"{folder}/*/__init__.py"))
    distribution = digest([ROOT / "pyproject.toml"], platform, *inits)
    packages = package_digests(installed_elsewhere(ros))

    fits = venv_fits(python, ros)
    stamp, distribution_stamp = VENV / "sortie_packages.stamp", VENV / "sortie_distribution.stamp"

    def stale(path: Path, content: str) -> bool:
        return not (fits and path.is_file() and path.read_text() == content)

    outdated = []
    if stale(stamp, platform):
        outdated.append("Python packages")
    if outdated or stale(distribution_stamp, distribution):
        outdated.append("sortie distribution")
    record = read_record()
    if "Python packages" in outdated or (record.get("platform"), record.get("packages")) != (platform, packages):
        outdated.append("ROS workspace")
    if check_only:
        return outdated
    if "Python packages" in outdated:
        install_packages(ros, requirements, python)
        mend_wheels(ros)
        write_atomically(stamp, platform)
    if "sortie distribution" in outdated:
        install_distribution(ros)
        write_atomically(distribution_stamp, distribution)
    if "ROS workspace" in outdated:
        build_workspace(ros, platform, packages)
    return outdated


def main() -> int:
    """Set up, or with ``--check`` only say what is out of date (exit code 1)."""
    check_only = sys.argv[1:] == ["--check"]
    (ROOT / ".cache").mkdir(exist_ok=True)
    try:
        with (ROOT / ".cache" / "setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once must not install over each other
            outdated = set_up(check_only)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next `make setup` continues", file=sys.stderr)
        return 130
    if check_only and outdated:
        print(f"out of date: {', '.join(outdated)}; run `make setup`")
        return 1
    if outdated:
        say("done; to have `sortie` at hand: . .venv/bin/activate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
