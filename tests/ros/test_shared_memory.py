"""Killed processes' shared memory goes away, living ones keep theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from sortie_bringup.shared_memory import remove_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ros

NODE = """
import sys, rclpy
rclpy.init()
node = rclpy.create_node("leaver")
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def nodes(domain: int) -> Iterator[list[subprocess.Popen[str]]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([sys.executable, "-c", NODE], **pipes) for _ in range(2)]
    for node in running:
        assert node.stdout.readline() == "up\n"
    yield running
    for node in running:
        node.kill()
        node.wait()


def segments(process: subprocess.Popen[str]) -> set[Path]:
    """Segments that the process itself has locked."""
    opened = {Path(entry.path) for entry in psutil.Process(process.pid).open_files()}
    opened |= {Path(f"/proc/{process.pid}/fd/{fd.name}").readlink() for fd in Path(f"/proc/{process.pid}/fd").iterdir()}
    locks = {path for path in opened if path.parent == Path("/dev/shm") and path.name.endswith("_el")}
    return {path.with_name(path.name.removesuffix("_el")) for path in locks}


def test_only_the_dead_lose_their_shared_memory(nodes: list[subprocess.Popen[str]]) -> None:
    dead, living = nodes
    left, kept = segments(dead), segments(living)
    data = {path for path in left if "port" not in path.name}
    assert data
    assert kept
    dead.kill()
    dead.wait()
    assert all(path.exists() for path in left), "a killed process leaves its files"
    assert remove_orphans(older_than_s=3600) >= 0
    assert all(path.exists() for path in left), "young files are left alone"
    assert remove_orphans(older_than_s=0) >= len(data)
    assert not any(path.exists() for path in data)
    assert all(path.exists() for path in kept)
    living.kill()
    living.wait()
    remove_orphans(older_than_s=0)
    # Ports stay as long as anybody else is in their domain.
    assert not [path.name for path in kept | left if "port" not in path.name and path.exists()]


def test_there_may_be_no_such_folder(tmp_path: Path) -> None:
    assert remove_orphans(tmp_path / "nowhere") == 0
    assert remove_orphans(tmp_path) == 0
