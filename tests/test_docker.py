"""The container image and its compose file are well formed, and build with what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

PROJECT = Path(__file__).parents[1]
DOCKERFILE = PROJECT / "docker" / "Dockerfile"
COMPOSE = PROJECT / "docker" / "compose.yaml"


def lint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    hadolint = Path(sys.executable).with_name("hadolint")
    return subprocess.run([str(hadolint), "--no-color", str(dockerfile)], capture_output=True, text=True)


def instructions(name: str) -> list[str]:
    """The arguments of all instructions of a kind, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    return [line.removeprefix(name).strip() for line in text.splitlines() if line.startswith(f"{name} ")]


def compose(path: Path) -> PyCompose:
    """The file as compose reads it: anchors resolved, variables at their defaults."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text(encoding="utf-8"))
    resolved = {key: value for key, value in yaml.safe_load(text).items() if not key.startswith("x-")}
    return PyCompose.from_yaml(yaml.safe_dump(resolved))


def test_the_dockerfile_has_no_faults() -> None:
    done = lint(DOCKERFILE)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_fault_in_a_dockerfile_would_be_found(tmp_path: Path) -> None:
    faulty = tmp_path / "Dockerfile"
    faulty.write_text(DOCKERFILE.read_text(encoding="utf-8").replace("apt-get install -y", "apt-get install"))
    assert "DL3014" in lint(faulty).stdout


def test_what_the_image_runs_and_copies_is_there() -> None:
    first, last = instructions("RUN")  # a further one needs a check of its own here
    assert first.startswith("apt-get update")
    assert last.endswith(". /opt/ros/jazzy/setup.sh && make setup"), "which every test is set up by"
    (entrypoint,) = instructions("ENTRYPOINT")
    script = PROJECT / Path(yaml.safe_load(entrypoint)[0]).relative_to("/sortie")
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)
    left_out = (PROJECT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"configs", "docker", "launch", "learning", "sim", "ros2_ws", "tests", "runs/"} & set(left_out)


def packages_are_known() -> bool:
    asked = ["apt-cache", "show", "build-essential"]
    return bool(shutil.which("apt-get")) and subprocess.run(asked, capture_output=True).returncode == 0


@pytest.mark.skipif(not packages_are_known(), reason="asks apt for packages; here is no apt, or it has no lists")
def test_apt_knows_the_packages_of_the_image() -> None:
    (names,) = re.findall(r"apt-get install -y --no-install-recommends ([a-z0-9 +.-]+?) *&&", instructions("RUN")[0])
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", *names.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"build-essential", "git", "make", "python3-dev", "python3-venv"} == set(names.split())


def test_the_compose_file_is_valid() -> None:
    found = compose(COMPOSE)
    found.validate()
    assert set(found.service_names()) >= {"sim", "test", "discovery", "world"}


@pytest.mark.parametrize(
    ("old", "new"),
    [("profiles: [fleet]", "profile: [fleet]"), ("networks: [radio]", "networks: [wire]"), ("init: true", "init: 3")],
)
def test_a_fault_in_a_compose_file_would_be_found(tmp_path: Path, old: str, new: str) -> None:
    faulty = tmp_path / "compose.yaml"
    faulty.write_text(COMPOSE.read_text(encoding="utf-8").replace(old, new))
    with pytest.raises(ValueError, match=r"."):
        compose(faulty).validate()
