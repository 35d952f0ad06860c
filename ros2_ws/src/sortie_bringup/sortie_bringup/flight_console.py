"""What a person sees of a flight and has in hand: checklist, drones, and the keys that land them or cut motors."""

from __future__ import annotations

import math
import os
import select
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from std_srvs.srv import Empty, Trigger

from sortie_bringup.mission_observer import MissionObserver
from sortie_nodes import qos

if TYPE_CHECKING:
    from rich.console import Console

    from sortie_core.flight_config import FlightConfig

_KEYS = "[b]e[/b] emergency: motors off   [b]l[/b] land   [b]Ctrl-C[/b] land, again: leave at once"
_ORDERS = {"e": "emergency", "l": "land"}
_INSIST_S = 0.5
_COLUMNS = ("drone", "phase", "vehicle", "battery", "link", "heard", "pose", "fence", "interventions", "")


class FlightObserver(MissionObserver):
    """Follows a flight, and passes on what people say.

    Attributes:
        drones: status of each, as topic `flight_status` has it.
        checklist: its lines.
        refusal: why the gate has not armed, the last time it was asked to.
        waiting: what has been ordered and not been answered, and when it was said, s.
    """

    def __init__(self) -> None:
        """Make the topics and the clients."""
        super().__init__()
        self.drones: list[DiagnosticStatus] = []
        self.checklist: list[DiagnosticStatus] = []
        self.refusal = ""
        self.create_subscription(
            DiagnosticArray, "flight_status", lambda new: self._keep(drones=new.status), qos.DIAGNOSTICS
        )
        self.create_subscription(
            DiagnosticArray, "checklist", lambda new: self._keep(checklist=new.status), qos.DIAGNOSTICS
        )
        kinds = {"emergency": Empty, "land": Trigger}
        self._orders = {name: self.create_client(kind, f"/all/{name}") for name, kind in kinds.items()}
        self._requests: dict[str, Any] = {name: kind.Request() for name, kind in kinds.items()}
        self.waiting: dict[str, float] = {}
        self._arm = self.create_client(Trigger, "safety_gate/arm")

    @property
    def heard(self) -> bool:
        """Somebody is there to land drones."""
        return self._orders["land"].service_is_ready()

    def order(self, what: str) -> None:
        """Have all drones landed, or their motors cut.

        Args:
            what: land or emergency.
        """
        self.waiting[what] = -math.inf

    def insist(self) -> None:
        """Say again what has not been answered."""
        now_s = time.monotonic()
        for what, said_s in list(self.waiting.items()):
            if now_s - said_s > _INSIST_S and self._orders[what].service_is_ready():
                self.waiting[what] = now_s
                answer = self._orders[what].call_async(self._requests[what])
                answer.add_done_callback(lambda _, what=what: self.waiting.pop(what, None))

    def arm(self) -> None:
        """Have the drones armed, if the checklist is green."""
        answer = self._arm.call_async(Trigger.Request())
        answer.add_done_callback(lambda done: self._keep(refusal=done.result().message))


class FlightConsole:
    """The live view; without a terminal it shows nothing, and no key is read.

    Args:
        console: where to.
        config: of the flight.
        quiet: show nothing; keys are read all the same.
    """

    def __init__(self, console: Console, config: FlightConfig, *, quiet: bool) -> None:
        """Nothing is shown yet."""
        self._config = config
        shown = console.is_terminal and not quiet
        self._live = Live(console=console, auto_refresh=False, transient=True) if shown else None
        self._keys = sys.stdin.isatty()
        self._settings: list[Any] = []
        self._landing = False

    def __enter__(self) -> FlightConsole:
        """Show it, and take keys one by one."""
        if self._keys:
            self._settings = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away, and give the terminal back as it was."""
        if self._live:
            self._live.stop()
        if self._keys:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)

    def make_observer(self) -> FlightObserver:
        """What it looks through."""
        return FlightObserver()

    def interrupted(self, observer: FlightObserver) -> bool:
        """Ctrl-C: land first; False where there is nobody to land them, and the second time."""
        if self._landing or not observer.heard:
            return False
        self._landing = True
        observer.order("land")
        return True

    def update(self, observer: FlightObserver) -> None:
        """Do what keys say, and show the newest that is known."""
        for key in self._pressed():
            if key in _ORDERS:
                observer.order(_ORDERS[key])
            elif key == "a":
                observer.arm()
        observer.insist()
        if self._live:
            self._live.update(Group(*self._picture(observer)), refresh=True)

    def _pressed(self) -> str:
        if not self._keys or not select.select([sys.stdin], [], [], 0.0)[0]:
            return ""
        return os.read(sys.stdin.fileno(), 64).decode(errors="ignore").lower()

    def _picture(self, observer: FlightObserver) -> list[Table | Text]:
        grounded = all(_value(each, "phase") == "ground" for each in observer.drones)
        parts: list[Table | Text] = []
        if grounded and observer.checklist and observer.status is None:
            parts += [checklist_table(observer.checklist), self._asking(observer)]
        parts.append(drones_table(observer.drones))
        if observer.status is not None:
            stamp = observer.status.header.stamp
            now_s = stamp.sec + stamp.nanosec * 1e-9
            share = observer.status.delivered_fraction
            parts.append(Text(f"{now_s:.1f} / {self._config.duration_s:g} s   {share:.1%} delivered"))
        parts.append(Text.from_markup(_KEYS))
        if observer.waiting:
            parts.append(Text(f"not answered yet: {', '.join(observer.waiting)}", style="red"))
        elif self._landing:
            parts.append(Text("landing"))
        return parts

    def _asking(self, observer: FlightObserver) -> Text:
        red = [each for each in observer.checklist if each.level == DiagnosticStatus.ERROR]
        if red:
            return Text(f"{len(red)} to mend before the drones can be armed", style="red")
        if not self._config.asks:
            return Text("green: arming", style="green")
        return Text.from_markup(f"[green]green[/green]: press [b]a[/b] to arm and take off  {observer.refusal}")


def checklist_table(lines: list[DiagnosticStatus]) -> Table:
    """The checklist: what is red first, then warnings; items that are green everywhere share a line."""
    table = Table("whose", "what", "", "found", box=None, title="checklist", title_justify="left")
    shown = {DiagnosticStatus.ERROR: "[red]no[/red]", DiagnosticStatus.WARN: "[yellow]note[/yellow]"}
    for level, mark in shown.items():
        for line in (each for each in lines if each.level == level):
            whose, _, item = line.name.partition(": ")
            table.add_row(whose, item, mark, Text(line.message))
    items = dict.fromkeys(line.name.partition(": ")[2] for line in lines)
    for item in items:
        of_item = [line for line in lines if line.name.endswith(f": {item}")]
        if all(line.level == DiagnosticStatus.OK for line in of_item):
            table.add_row("all" if len(of_item) > 1 else "", item, "[green]yes[/green]", Text(of_item[0].message))
    return table


def drones_table(drones: list[DiagnosticStatus]) -> Table:
    """One line a drone."""
    table = Table(*_COLUMNS, box=None)
    for status in drones:
        setpoints, changed = int(_value(status, "setpoints") or 0), int(_value(status, "interventions") or 0)
        table.add_row(
            status.name.removeprefix("drone "),
            Text(_value(status, "phase"), style="red" if status.message else ""),
            _value(status, "vehicle"),
            _figure(status, "battery_v", "{:.2f} V"),
            _figure(status, "link", "{:.0%}"),
            _figure(status, "silent_s", "{:.1f} s"),
            _figure(status, "pose_age_s", "{:.0f} ms", 1e3),
            _figure(status, "fence_m", "{:.2f} m"),
            f"{changed} of {setpoints}",
            Text(status.message, style="red"),
        )
    return table


def _value(status: DiagnosticStatus, key: str) -> str:
    return next((item.value for item in status.values if item.key == key), "")


def _figure(status: DiagnosticStatus, key: str, form: str, factor: float = 1.0) -> str:
    value = float(_value(status, key) or math.nan)
    return form.format(factor * value) if math.isfinite(value) else "-"
