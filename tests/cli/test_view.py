"""A run is seen live in a browser, recorded, replayed in the same view, and reported on, all by commands."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import colours
from playwright.sync_api import expect
from rosbags.highlevel import AnyReader

from sortie_view.cluster_data import ClusterData
from sortie_view.recorded_runs import load_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.ros

PROJECT = Path(__file__).parents[2]
SORTIE = str(Path(sys.executable).with_name("sortie"))
SHORT = ("team.n_agents=4", "task.duration_s=8", "ros.success_fraction=0.01", "world.backend=point")


def start(*arguments: str, terminal: int | None = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [SORTIE, *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "120"},
    )


def test_a_mission_is_seen_recorded_replayed_and_reported_on(page: Page, port: int, tmp_path: Path) -> None:
    out = tmp_path / "flown"
    keyboard, terminal = pty.openpty()
    running = start(
        "sim", "configs/delivery.yaml", *SHORT, f"ros.view_port={port}", "--view", "--out", str(out), terminal=terminal
    )
    try:
        said = iter(running.stderr.readline, "")
        assert any(f"http://localhost:{port + 1}" in line for line in said)
        page.goto(f"http://localhost:{port + 1}")
        expect(page.locator("body")).to_have_attribute("data-state", "live")
        page.wait_for_function("Number(document.body.dataset.ticks) > 20")
        assert float(page.locator("#messages").inner_text()) > 0
        assert page.locator(".need").count() == 3
        # who sits at a terminal goes on with the recording, in the same page
        assert any("run.mcap" in line and f"http://localhost:{port + 1}" in line for line in said)
        expect(page.locator("body")).to_have_attribute("data-state", "at its end", timeout=30_000)
        expect(page.locator("#time")).to_have_text("8.0 s")
        shown = page.locator("#delivered").inner_text()
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
        os.close(keyboard)
        os.close(terminal)
    assert running.returncode == 0

    with AnyReader([out / "run.mcap"]) as reader:  # a reader that shares nothing with the writer
        kinds = {each.topic: each.msgtype for each in reader.connections}
        assert kinds["/team_status"] == "sortie_interfaces/msg/WorldStatus"
        assert {f"/drone_{k}/{name}" for k in range(4) for name in ("odom", "claim", "cmd_vel", "comm/tx")} <= set(
            kinds
        )
        last = None
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/team_status":
                last = message
    assert last is not None and last.done and f"{100 * last.delivered_fraction:.1f} %" == shown

    report = tmp_path / "report"
    done = subprocess.run([SORTIE, "report", str(out), "--out", str(report)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(report / "report.html")
    page.goto((report / "report.html").as_uri())
    pictures = page.locator("img")
    assert pictures.count() == len(list(report.glob("*.png"))) > 5
    assert all(pictures.nth(k).evaluate("image => image.naturalWidth") > 400 for k in range(pictures.count()))


def test_a_cluster_is_seen_with_its_queues_and_tasks(page: Page, port: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    running = start(
        "cluster", "configs/cluster_live.yaml", "live.backend=simulated", "arrivals.n_tasks=25",
        f"ros.view_port={port}", "--view", "--out", str(out),
    )  # fmt: skip
    try:
        said = iter(running.stderr.readline, "")
        assert any(f"http://localhost:{port + 1}" in line for line in said)
        page.goto(f"http://localhost:{port + 1}")
        expect(page.locator("body")).to_have_attribute("data-state", "live")
        expect(page.locator("#gantt-section")).to_be_visible()
        page.wait_for_function("Number(document.body.dataset.ticks) > 20")
        assert page.locator("#needs-title").inner_text() == "Tasks that wait at each node"
        assert len(colours(page, "gantt")) > 10  # tasks, each in its colour
        running.communicate(timeout=90)
    finally:
        running.kill()
    assert running.returncode == 0

    command = [SORTIE, "report", str(out), "--json", "--out", str(tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["clusters"]
    assert row["name"] == "run" and row["delivered_fraction"] == 1.0
    pictures = {each.name for each in (tmp_path / "report").glob("*.png")}
    assert pictures == {f"run-{name}.png" for name in ("gantt", "queues", "use", "ended", "messages")}
    data = load_run(out, "run")
    assert isinstance(data, ClusterData)
    assert {task[0] for task in data.tasks} == set(range(row["tasks"]))
    assert all(task[3] > task[2] for task in data.tasks) and data.delivered[-1] == 1.0
    assert 0.0 <= data.used.min() and 0.1 < data.used.max() <= 1.0
