"""Every command of the documentation is run, in the order of its page, in a folder that looks like a fresh clone.

An HTML comment before a block says how the test runs it, where that is not as it stands:

- ``<!-- test: with KEY=VALUE ... -->``: these keys too, on every line that calls `sortie` with a configuration.
- ``<!-- test: until TEXT -->``: until it has said so; then Ctrl-C ends it.
- ``<!-- test: file NAME -->``: it is no command, but what the reader writes into this file.
- ``<!-- test: elsewhere, REASON -->``: it needs what a test cannot have; the reasons are `ELSEWHERE`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros

PROJECT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(PROJECT)
    for path in [PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")]
    if "```" in path.read_text()
)
ELSEWHERE = {
    "it runs the tests": lambda: False,
    "it needs real drones": lambda: False,
    "it needs containers": lambda: False,
    "it needs a Fast DDS with security": lambda: False,
    "it runs in a test of its own": lambda: False,
    "it needs the network": lambda: False,
    "it needs a ROS installation": lambda: shutil.which("ros2") is not None,
}
"""Why a command may not be run by a test, and whether it can be after all."""
_SHELLS = ("sh", "bash", "console")
_BLOCK = re.compile(r"(?:<!-- test: (?P<how>[^\n]*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_TIMEOUT_S = 400


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        kind: its language.
        text: what is in it.
        how: the remark before it, for the test.
        line: where it begins.
    """

    kind: str
    text: str
    how: str
    line: int

    def after(self, word: str) -> str | None:
        """What the remark says after a word, if it begins with it."""
        return self.how.removeprefix(word).strip() if self.how.startswith(word) else None


def blocks(page: Path) -> list[Block]:
    text = (PROJECT / page).read_text(encoding="utf-8")
    return [
        Block(found["kind"], found["text"], found["how"] or "", text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def with_keys(script: str, keys: str) -> str:
    """A script whose calls of `sortie` with a configuration get further keys."""
    return re.sub(r"(\bsortie \w+ \S+\.yaml)", rf"\1 {keys}", script)


def run(block: Block, folder: Path) -> None:
    """Run a block as a reader would, or fail with what it has said."""
    keys, awaited = block.after("with"), block.after("until")
    script = with_keys(block.text, keys) if keys else block.text
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": f"{PROJECT}/.venv/bin{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=(folder / "said.txt").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's children ignore it
    )
    deadline_s = time.monotonic() + _TIMEOUT_S
    try:
        while process.poll() is None and time.monotonic() < deadline_s:
            if awaited and awaited in (folder / "said.txt").read_text():
                os.killpg(process.pid, signal.SIGINT)
                process.wait(30)
                break
            time.sleep(0.1)
    finally:
        if alive := process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = (folder / "said.txt").read_text()
    assert not alive, f"line {block.line}: did not end within {_TIMEOUT_S} s\n{script}\n{said}"
    if awaited:
        assert awaited in said, f"line {block.line}: never said {awaited!r}\n{script}\n{said}"
    else:
        assert process.returncode == 0, f"line {block.line}: exit code {process.returncode}\n{script}\n{said}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with all that a clone has, and room for what commands write."""
    for path in PROJECT.iterdir():
        if path.name not in ("runs", ".git", ".pytest_cache"):
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture(autouse=True)
def _a_domain_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands choose their DDS domain as users' do."""
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_do_what_the_page_says(page: Path, clone: Path) -> None:
    for block in blocks(page):
        elsewhere = block.after("elsewhere,")
        if (name := block.after("file")) is not None:
            (clone / name).write_text(block.text)
        elif block.kind in _SHELLS and (elsewhere is None or ELSEWHERE[elsewhere]()):
            run(block, clone)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_remarks_are_understood(page: Path) -> None:
    for block in blocks(page):
        known = not block.how or any(block.after(word) for word in ("with", "until", "file", "elsewhere,"))
        assert known, f"{page}:{block.line}: {block.how}"
        if reason := block.after("elsewhere,"):
            assert reason in ELSEWHERE, f"{page}:{block.line}: {reason}"
        assert reason or "make test" not in block.text, f"{page}:{block.line}: tests would run tests"
    assert not re.search(r"^[ \t]+```", (PROJECT / page).read_text(), re.M), (
        "blocks begin at the margin, or no test finds them"
    )
