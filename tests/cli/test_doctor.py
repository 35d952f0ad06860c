"""The doctor tells what is there from what is not, and its exit code says whether the machine is fit."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sortie_cli import doctor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.ros
def test_the_report_is_valid_json_and_agrees_with_the_exit_code() -> None:
    command = [sys.executable, "-m", "sortie_cli.main", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    report = json.loads(done.stdout)
    rows = {row["name"]: row for row in report["checks"]}
    failing = [row for row in rows.values() if row["required"] and row["status"] in ("missing", "broken")]
    assert report["fit"] is (not failing)
    assert done.returncode == (1 if failing else 0)
    assert all(row["mend"] for row in rows.values() if row["status"] != "ok")
    for name in ("Python", "C++ compiler", "Python packages", "import torch", "import rclpy", "DDS between processes"):
        assert rows[name]["status"] == "ok", rows[name]
    assert {"/dev/shm", "trained policy", "torch threads", "free disk"} <= set(rows)


def test_packages_that_are_absent_or_of_another_version_are_named(tmp_path: Path) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("# why\nnumpy==0.1  # old\nno-such-package[extra]==1.2\nrich==0.0.1\n", encoding="utf-8")
    rows = {row.name: row for row in doctor._compare_with_pins([pins])}
    assert rows["no-such-package"].status == "missing"
    assert rows["numpy"].status == rows["rich"].status == "warning"
    assert "0.1" in rows["numpy"].found
    assert rows["Python packages"].found.startswith("0 as pinned")


def test_locks_of_killed_processes_are_told_from_locks_in_use(tmp_path: Path) -> None:
    held, stale = tmp_path / "fastrtps_0123456789abcdef_el", tmp_path / "fastrtps_port7411_el"
    held.touch()
    with held.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (row,) = doctor._shared_memory(tmp_path)
        assert row.status == "ok"
        stale.touch()
        (row,) = doctor._shared_memory(tmp_path)
    assert row.status == "warning"
    assert row.found.startswith("1 ")
    assert "shm clean" in row.mend
    assert not row.fails


def test_only_what_is_required_makes_a_machine_unfit() -> None:
    for status, fails in (("ok", False), ("warning", False), ("missing", True), ("broken", True)):
        assert doctor.Check("x", status, "").fails is fails
        assert doctor.Check("x", status, "", required=False).fails is False


@pytest.mark.parametrize(("fit", "code"), [(True, 0), (False, 1)])
def test_the_table_lists_how_to_mend(
    fit: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = doctor.Check("radio", "ok", "hears")
    if not fit:
        row = doctor.Check("radio", "broken", "deaf", "plug in [the] antenna")
    monkeypatch.setattr(doctor, "_CHECKS", (lambda: iter([row]),))
    assert doctor.examine(as_json=False) == code
    printed = capsys.readouterr().out
    assert row.found in printed
    assert row.mend in printed
