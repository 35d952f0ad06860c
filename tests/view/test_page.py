"""The page in a real browser: what it shows, that it keeps up, and that it comes back."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import colours
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

SORTIE = str(Path(sys.executable).with_name("sortie"))


@pytest.fixture
def replayed() -> Iterator[Callable[[Path, int], subprocess.Popen[str]]]:
    """Replay recordings by the command, each until the test's end at the latest."""
    running: list[subprocess.Popen[str]] = []

    def replayed(recording: Path, port: int) -> subprocess.Popen[str]:
        command = [SORTIE, "replay", str(recording), "--port", str(port)]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        said = running[-1].stderr.readline()
        assert f"http://localhost:{port + 1}" in said, said
        return running[-1]

    yield replayed
    for process in running:
        process.kill()
        process.communicate()


def ticks(page: Page) -> int:
    return int(page.locator("body").get_attribute("data-ticks") or 0)


def seek(page: Page, thousandths: int) -> None:
    page.evaluate(
        """to => { const bar = document.getElementById("seek"); bar.value = to;
        bar.dispatchEvent(new Event("input")); bar.dispatchEvent(new Event("change")); }""",
        thousandths,
    )


def test_a_mission_is_seen(page: Page, record: Callable[..., Path], replayed: Any, port: int, tmp_path: Path) -> None:
    replayed(record("run", 60), port)
    page.goto(f"http://localhost:{port + 1}")
    expect(page.locator("body")).to_have_attribute("data-state", "playing")
    page.locator("#play").click()
    expect(page.locator("body")).to_have_attribute("data-state", "paused")
    seek(page, 1000)
    expect(page.locator("#delivered")).to_have_text("100.0 %")
    expect(page.locator("#faults li")).to_have_text(["5.8 s: drone 1 failed, as its layout has it"])
    seek(page, 500)
    expect(page.locator("#delivered")).to_have_text(re.compile(r"^(49|50)\.\d %$"))
    expect(page.locator("#messages")).to_have_text("80")  # 8 drones, each 10 per s
    expect(page.locator("#bytes")).to_have_text("8.0")
    expect(page.locator(".need")).to_have_count(3)
    assert all(0.95 < float(text) < 1.05 for text in page.locator(".need span:last-child").all_inner_texts())
    # sub-teams: three consumers have drones that agreed on them, each in a colour of its own
    seen = colours(page, "map")
    teams = [page.evaluate(_RGB, f"hsl({(m * 0.381966 % 1) * 360} 70% 50%)") for m in range(3)]
    assert all(seen.get(team, 0) > 100 for team in teams), (teams, seen)
    for chart in ("chart-delivered", "chart-messages", "chart-third"):
        assert len(colours(page, chart)) > 3
    page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 30_000


_RGB = """colour => { const pen = document.createElement("canvas").getContext("2d"); pen.fillStyle = colour;
pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).join(","); }"""


def test_what_is_not_agreed_on_is_grey(page: Page, record: Callable[..., Path], replayed: Any, port: int) -> None:
    """The colours on the map are those of the choices, not of the drones."""
    replayed(record("run", 40, "task.n_consumers=1"), port)
    page.goto(f"http://localhost:{port + 1}")
    page.wait_for_function("Number(document.body.dataset.ticks) > 3")
    other = page.evaluate(_RGB, f"hsl({0.381966 * 360} 70% 50%)")
    assert other not in colours(page, "map")


def test_the_page_comes_back_with_the_server(page: Page, record: Callable[..., Path], replayed: Any, port: int) -> None:
    recording = record("run", 60)
    process = replayed(recording, port)
    page.goto(f"http://localhost:{port + 1}")
    page.wait_for_function("Number(document.body.dataset.ticks) > 3")
    process.kill()
    expect(page.locator("body")).to_have_attribute("data-state", "disconnected")
    expect(page.locator("#state")).to_have_text("not connected, trying again")
    before = ticks(page)
    replayed(recording, port)
    expect(page.locator("body")).to_have_attribute("data-state", "playing")
    page.wait_for_function(f"Number(document.body.dataset.ticks) > {before + 3}")


def test_who_comes_while_it_is_paused_sees_that(
    page: Page, record: Callable[..., Path], replayed: Any, port: int
) -> None:
    replayed(record("run", 60), port)
    page.goto(f"http://localhost:{port + 1}")
    page.locator("#play").click()
    expect(page.locator("body")).to_have_attribute("data-state", "paused")
    page.reload()
    expect(page.locator("body")).to_have_attribute("data-state", "paused")
    expect(page.locator("#play")).to_have_text("Play")
    # the slider goes by keyboard, too, a thousandth a key, and stays where it was put
    seek(page, 250)
    page.locator("#seek").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.wait_for_timeout(700)  # longer than the server takes to tell how it stands
        page.keyboard.press(key)
    expect(page.locator("#seek")).to_have_js_property("value", "252")
    expect(page.locator("body")).to_have_attribute("data-state", "paused")


SUBSCRIBE_LATER = """([port, first, later]) => {
    const socket = new WebSocket(`ws://localhost:${port}`, ["foxglove.sdk.v1"]);
    socket.binaryType = "arraybuffer";
    const channels = {}, ask = (id, topic) =>
        socket.send(JSON.stringify({op: "subscribe", subscriptions: [{id, channelId: channels[topic]}]}));
    window.counts = {};
    socket.onmessage = ({data}) => {
        if (typeof data === "string") {
            const told = JSON.parse(data);
            if (told.op !== "advertise") return;
            for (const each of told.channels) channels[each.topic] = each.id;
            if (channels[first] !== undefined && channels[later] !== undefined) ask(1, first);
        } else if (new DataView(data).getUint8(0) === 1) {
            const id = new DataView(data).getUint32(1, true);
            window.counts[id] = (window.counts[id] ?? 0) + 1;
            if (id === 1 && window.counts[1] === 5) ask(2, later);
        }
    };
}"""


def test_a_topic_asked_for_later_comes_too(page: Page, record: Callable[..., Path], replayed: Any, port: int) -> None:
    """As of a panel that is added in Foxglove while another shows something."""
    replayed(record("run", 60), port)
    page.goto(f"http://localhost:{port + 1}")
    page.evaluate(SUBSCRIBE_LATER, [port, "/team_status", "/consumers"])
    page.wait_for_function("window.counts[2] >= 5")
    assert page.evaluate("window.counts[1]") >= 10


def test_a_hundred_drones_at_ten_hertz(page: Page, record: Callable[..., Path], replayed: Any, port: int) -> None:
    """Counted, not timed."""
    n_ticks = 80
    replayed(record("run", n_ticks, "team.n_agents=100", "task.n_consumers=20", "comm.radius_m=3.5"), port)
    page.goto(f"http://localhost:{port + 1}")
    page.wait_for_function("Number(document.body.dataset.ticks) > 3")
    page.locator("#play").click()
    expect(page.locator("body")).to_have_attribute("data-state", "paused")
    seek(page, 0)
    expect(page.locator("#time")).to_have_text("0.0 s")
    page.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => window.seen.add(
        document.getElementById("time").textContent)).observe(document.getElementById("time"), {childList: true}); }"""
    )
    page.locator("#play").click()
    expect(page.locator("body")).to_have_attribute("data-state", "at its end")
    # all on an idle machine; ticks that come while server or browser is busy are shown as one
    assert page.evaluate("window.seen.size") >= 0.6 * (n_ticks - 1)


def test_a_taken_port_is_said_in_a_line(record: Callable[..., Path], port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        command = [SORTIE, "replay", str(record()), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and f"127.0.0.1:{port}" in done.stderr and "another port" in done.stderr
