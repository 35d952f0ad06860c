"""What every world of a mission has in common, simulated or not: its ticks, and what ends them."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from sortie_interfaces.msg import Fault

from sortie_nodes.managed_node import ManagedNode

if TYPE_CHECKING:
    from sortie_interfaces.srv import StartWorld

_WATCH_PERIOD_S = 0.1
_LATE = 0.5
"""A tick is late that begins more than this share of a tick after its time."""


class TickingNode(ManagedNode):
    """A world that goes on tick by tick.

    In real time the wall clock paces the ticks, times ros.real_time_factor. In lockstep a tick ends once the answers of
    all agents that are there are in; an agent whose answer is ros.command_timeout_s behind the first one is lost, and
    the others go on without it.

    Attributes:
        dt_s: length of a tick, s.
        running: whether a mission is under way.
        seed: of it.
        tick: that has begun last.
        last_tick: of the mission, unless it is over before.
        late_ticks: ticks so far that began late.
        began_s: when the mission began, wall clock.
    """

    ANSWER = "answer"
    """What the world waits for, in words."""

    def __init__(self, **options: Any) -> None:
        """Make the timer, which stands still until a mission begins."""
        super().__init__("world", **options)
        self.dt_s, self.running = self.config.world.dt_s, False
        lockstep = self.config.ros.lockstep
        self._period_s = _WATCH_PERIOD_S if lockstep else self.dt_s / self.config.ros.real_time_factor
        self._timer = self.wall_timer(self._period_s, self._watch if lockstep else self._pace)
        self._timer.cancel()

    def end(self) -> None:
        """Stop the ticks."""
        self.running = False
        self._timer.cancel()

    def refusal(self, what: str) -> str:
        """Why no mission can begin, in words; empty if one can."""
        if not self.active:
            return f"the {what} is not active"
        return "a mission is under way" if self.running else ""

    def begin_mission(self, request: StartWorld.Request) -> None:
        """A mission begins: set the clock; `announce` comes next."""
        self.seed, self.tick, self.late_ticks, self.running = request.seed, 0, 0, True
        limit_s = request.time_limit or math.inf
        self.last_tick = min(self.config.n_steps, math.ceil(min(limit_s, 1e9) / self.dt_s))
        self.began_s = self._due_s = time.monotonic()
        self._timer.reset()

    def announce(self) -> None:
        """A tick begins, and nobody has answered yet."""
        self._announced_s, self._first_answer_s = time.monotonic(), math.inf
        self.tell()

    def answered(self) -> None:
        """Lockstep: somebody has answered, and the tick may be complete."""
        self._first_answer_s = min(self._first_answer_s, time.monotonic())
        self.advance_if_complete()

    def advance_if_complete(self) -> None:
        """Lockstep: the tick ends once nobody is waited for."""
        if self.config.ros.lockstep and self.running and not self.awaited():
            self.advance()

    # What worlds differ in.

    @abstractmethod
    def tell(self) -> None:
        """Publish the tick that begins; call `end` where the mission is over."""

    @abstractmethod
    def advance(self) -> None:
        """Let a tick's time pass, and `announce` the next one."""

    @abstractmethod
    def awaited(self) -> set[int]:
        """Lockstep: agents that have not answered yet."""

    @property
    @abstractmethod
    def n_rounds(self) -> int:
        """Rounds of the radio in this tick, each of which may have to wait for a silent agent."""

    # The clock.

    def _watch(self) -> None:
        """Lockstep: nobody waits for a silent agent forever."""
        now_s, patience_s = time.monotonic(), self.config.ros.command_timeout_s
        # every round may have cost the radio its patience with somebody before the first answer comes
        if now_s > self._first_answer_s + patience_s or now_s > self._announced_s + (self.n_rounds + 1) * patience_s:
            for drone in sorted(self.awaited()):
                waited_s = now_s - self._announced_s
                text = f"drone {drone} sent no {self.ANSWER} for tick {self.tick} in {waited_s:.1f} s"
                self.report_fault(Fault.SILENT, drone, text)

    def _pace(self) -> None:
        """Real time: the wall clock ends the tick; lateness is counted, and the mission's clock waits."""
        now_s = time.monotonic()
        self._due_s += self._period_s
        if now_s > self._due_s + _LATE * self._period_s:
            self.late_ticks += 1
            self._due_s = now_s
        self.advance()
