"""What a person sees of a flight, and that keys do what they say, at once."""

from __future__ import annotations

import os
import pty
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rich.console import Console
from std_srvs.srv import Empty, Trigger

from sortie_bringup.flight_console import FlightConsole, FlightObserver, checklist_table, drones_table
from sortie_core.config import load
from sortie_core.flight_config import FlightConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Graph
    from rich.table import Table

CONFIG = load(FlightConfig, Path(__file__).parents[2] / "configs" / "flight" / "mavlink.yaml")


class Observer:
    """Knows what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.drones, self.checklist, self.status, self.refusal = [drone(0)], [], None, ""
        self.order, self.heard, self.insisted, self.waiting = self.said.append, True, 0, {}

    def arm(self) -> None:
        self.said.append("arm")

    def insist(self) -> None:
        self.insisted += 1


def drone(number: int, message: str = "", **values: str) -> DiagnosticStatus:
    shown = {"phase": "ground", "battery_v": "15.2000", "link": "nan", "fence_m": "0.81", "setpoints": "40"} | values
    pairs = [KeyValue(key=key, value=value) for key, value in shown.items()]
    return DiagnosticStatus(name=f"drone {number}", message=message, values=pairs)


def line(name: str, level: bytes, message: str) -> DiagnosticStatus:
    return DiagnosticStatus(name=name, level=level, message=message)


def text(shown: Table) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(shown)
    return console.file.getvalue()


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Writes to it are keys."""
    person, terminal = pty.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield person
    os.close(person)


def test_keys_land_arm_and_cut_at_once(keyboard: int) -> None:
    observer = Observer()
    with FlightConsole(Console(file=StringIO()), CONFIG, quiet=True) as console:
        console.update(observer)
        assert observer.said == []
        for key, what in (("l", "land"), ("e", "emergency"), ("a", "arm"), ("E", "emergency")):
            os.write(keyboard, key.encode())
            console.update(observer)
            assert observer.said[-1] == what
        os.write(keyboard, b"x")
        console.update(observer)
        assert len(observer.said) == 4
        assert observer.insisted == 6


def test_an_interrupt_lands_first_and_the_next_one_leaves() -> None:
    observer, console = Observer(), FlightConsole(Console(file=StringIO()), CONFIG, quiet=True)
    assert console.interrupted(observer)
    assert observer.said == ["land"]
    assert not console.interrupted(observer)


def test_an_interrupt_before_there_is_a_gate_leaves_at_once() -> None:
    observer, console = Observer(), FlightConsole(Console(file=StringIO()), CONFIG, quiet=True)
    observer.heard = False
    assert not console.interrupted(observer)
    assert observer.said == []


@pytest.mark.ros
def test_what_is_ordered_before_anybody_listens_is_said_until_it_is_answered(graph: Graph) -> None:
    observer, gate, told = FlightObserver(), rclpy.create_node("late_gate"), []
    graph.add(observer)
    graph.add(gate)
    for what in ("emergency", "land"):
        observer.order(what)
    observer.insist()
    assert not observer.heard
    assert set(observer.waiting) == {"emergency", "land"}
    for what, kind in (("emergency", Empty), ("land", Trigger)):
        gate.create_service(kind, f"/all/{what}", lambda _, answer, what=what: (told.append(what), answer)[1])

    def answered() -> bool:
        observer.insist()
        return not observer.waiting

    graph.until(answered, 15, "answers")
    assert set(told) == {"emergency", "land"}


def test_the_checklist_shows_what_is_red_first_and_what_is_green_for_all_once() -> None:
    lines = [line(f"drone {k}: link", DiagnosticStatus.OK, "heard 0.1 s ago") for k in range(8)]
    lines += [line("drone 3: battery", DiagnosticStatus.ERROR, "13.1 V, below 14 V; charge it")]
    lines += [line("drone 5: remark", DiagnosticStatus.WARN, "it arms itself")]
    shown = [row.split() for row in text(checklist_table(lines)).splitlines()[2:]]
    assert shown[0][:4] == ["drone", "3", "battery", "no"]
    assert shown[1][:4] == ["drone", "5", "remark", "note"]
    assert shown[2][:3] == ["all", "link", "yes"]
    assert len(shown) == 3


def test_a_line_for_each_drone_and_a_dash_for_what_is_not_known() -> None:
    shown = text(drones_table([drone(0, interventions="3"), drone(1, "it is told to land", phase="land")]))
    first, second = shown.splitlines()[1:]
    assert "15.20 V" in first
    assert " - " in first
    assert "0.81 m" in first
    assert "3 of 40" in first
    assert "land" in second
    assert "it is told to land" in second
