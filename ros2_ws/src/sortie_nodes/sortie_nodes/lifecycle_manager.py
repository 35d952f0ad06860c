"""Brings all nodes of a mission up and down together, by their lifecycle services."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rclpy.client import Client
    from rclpy.node import Node
    from rclpy.task import Future

    Script = Generator[None, None, Any]
    """A course of events that a timer resumes; a coroutine that awaits a future keeps the executor at full speed."""

_ANSWER_S = 0.5
"""After so long without an answer a node is asked for its state; discovery can be one-sided for a while."""
_LOST_S = 5.0
"""A node that idles in its old state for so long has not got the question; the middleware repeats itself every 3 s."""
_FAREWELL_S = 3.0
"""How long nodes may take to stop after a mission."""
_STEPS = {
    Transition.TRANSITION_CONFIGURE: (State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_INACTIVE),
    Transition.TRANSITION_ACTIVATE: (State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE),
    Transition.TRANSITION_DEACTIVATE: (State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE),
    Transition.TRANSITION_CLEANUP: (State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_UNCONFIGURED),
}
"""Where each transition starts and ends."""


class MissionError(Exception):
    """The mission cannot be flown: one line that says why."""


@dataclass
class Managed:
    """One node under management.

    Attributes:
        name: fully qualified.
        drone: whose node it is; None for those that every mission needs.
        change: its lifecycle service.
        look: the service that tells its state.
        state: what that is, as far as the manager knows; a transition that does not start there would end the node.
        refused: it answered that the last transition failed.
    """

    name: str
    drone: int | None
    change: Client
    look: Client
    state: int = State.PRIMARY_STATE_UNCONFIGURED
    refused: bool = False

    @property
    def present(self) -> bool:
        """Its services are there."""
        return self.change.service_is_ready() and self.look.service_is_ready()


def until(condition: Callable[[], bool], timeout_s: float) -> Script:
    """Let everything else go on until a condition holds; whether it does in the end."""
    deadline_s = time.monotonic() + timeout_s
    while not (holds := condition()) and time.monotonic() < deadline_s:
        yield
    return holds


class Question:
    """A transition that one node has been asked for.

    Its answer may be lost where the other side has not found this one yet, though it found the question. Hence the node
    is asked for its state as well, which it tells once its transition is over. A question that is late must not be
    asked again, for the second one would find the node in a state where the transition does not start.
    """

    def __init__(self, node: Managed, start: int, change: Future) -> None:
        """Asked just now."""
        self.node = node
        self._start, self._change = start, change
        self._looks: list[Future] = []
        self._asked_s = time.monotonic()

    def look(self) -> None:
        """Ask for the state, too."""
        self._looks.append(self.node.look.call_async(GetState.Request()))

    @property
    def settled(self) -> bool:
        """The answer is known, or none is to be hoped for."""
        if self._change.done():
            return True
        if self._seen not in (None, self._start):
            return True
        idle = bool(self._looks) and self._looks[-1].done()
        return idle and time.monotonic() > self._asked_s + _LOST_S

    @property
    def _seen(self) -> int | None:
        """The state that the node told last."""
        return next((look.result().current_state.id for look in reversed(self._looks) if look.done()), None)

    def conclude(self, end: int) -> None:
        """Write down where the node is now."""
        self.node.refused = self._change.done() and not self._change.result().success
        if self._change.done():
            self.node.state = self._start if self.node.refused else end
        elif self._seen is not None:
            self.node.state = self._seen


class LifecycleManager:
    """The nodes of one mission.

    Args:
        node: whose clients are used.
        team: name and drone of every node to manage.
        lost: tells which drones are known to be gone; nobody waits for their nodes.
    """

    def __init__(self, node: Node, team: list[tuple[str, int | None]], lost: Callable[[], set[int]]) -> None:
        """Make the clients."""
        self._lost = lost
        self._nodes = [
            Managed(
                name,
                drone,
                node.create_client(ChangeState, f"{name}/change_state"),
                node.create_client(GetState, f"{name}/get_state"),
            )
            for name, drone in team
        ]

    @property
    def living(self) -> list[Managed]:
        """Nodes that are not known to be gone."""
        lost = self._lost()
        return [node for node in self._nodes if node.drone not in lost]

    def bring_up(self, timeout_s: float) -> Script:
        """Find all nodes, configure them, and activate them; each step for all at once.

        Raises:
            MissionError: naming the nodes that are not up in time.
        """
        deadline_s = time.monotonic() + timeout_s
        if not (yield from until(lambda: all(node.present for node in self.living), timeout_s)):
            missing = [node for node in self.living if not node.present]
            raise MissionError(f"not up after {timeout_s} s (ros.ready_timeout_s): {_names(missing)}")
        while failed := (yield from self._change(Transition.TRANSITION_CONFIGURE, timeout_s)):
            if refused := [node for node in failed if node.refused]:
                raise MissionError(f"could not be configured, see their messages above: {_names(refused)}")
            if time.monotonic() > deadline_s:
                raise MissionError(f"not configured after {timeout_s} s (ros.ready_timeout_s): {_names(failed)}")
        # Each attempt to become active waits for links only so long, to hear of lost drones in between.
        while failed := (yield from self._change(Transition.TRANSITION_ACTIVATE, timeout_s)):
            if time.monotonic() > deadline_s:
                raise MissionError(f"not active after {timeout_s} s (ros.ready_timeout_s): {_names(failed)}")

    def stop(self) -> Script:
        """Deactivate all nodes."""
        yield from self._change(Transition.TRANSITION_DEACTIVATE, _FAREWELL_S)

    def release(self) -> Script:
        """Clean up all nodes, so that they can be brought up again."""
        yield from self._change(Transition.TRANSITION_CLEANUP, _FAREWELL_S)

    def _change(self, transition: int, timeout_s: float) -> Script:
        """Put all living nodes through a transition; those that did not follow."""
        start, end = _STEPS[transition]
        request = ChangeState.Request()
        request.transition.id = transition
        nodes = [node for node in self.living if node.state == start and node.present]
        questions = [Question(node, start, node.change.call_async(request)) for node in nodes]

        def open_questions() -> list[Question]:
            living = self.living
            return [each for each in questions if each.node in living and not each.settled]

        deadline_s = time.monotonic() + timeout_s
        while not (yield from until(lambda: not open_questions(), _ANSWER_S)) and time.monotonic() < deadline_s:
            for question in open_questions():
                question.look()
        for question in questions:
            question.conclude(end)
        return [node for node in nodes if node.state != end and node in self.living]


def _names(nodes: list[Managed]) -> str:
    return ", ".join(node.name for node in nodes)
