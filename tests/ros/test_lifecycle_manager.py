"""The manager asks for a transition once, however late or lost the answers are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.task import Future

from sortie_nodes import lifecycle_manager
from sortie_nodes.lifecycle_manager import LifecycleManager, MissionError

UNCONFIGURED, INACTIVE = State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE


class Wire:
    """A managed node at the other end of a bad line; time passes by `wait`."""

    def __init__(self, *, change_after_s: float, answers: bool = True, obeys: bool = True) -> None:
        self.now_s, self.state, self.changes = 0.0, UNCONFIGURED, 0
        self._after_s, self._answers, self._obeys = change_after_s, answers, obeys
        self._due: list[tuple[float, Future]] = []

    def create_client(self, kind: type, _name: str) -> Any:
        ask = self._ask_change if kind is ChangeState else self._ask_state
        return SimpleNamespace(service_is_ready=lambda: True, call_async=ask)

    def _ask_change(self, _request: ChangeState.Request) -> Future:
        self.changes += 1
        self._due.append((self.now_s + self._after_s, future := Future()))
        return future

    def _ask_state(self, _request: GetState.Request) -> Future:
        response = GetState.Response()
        response.current_state.id = self.state
        future = Future()
        future.set_result(response)
        return future

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        for _, future in [each for each in self._due if each[0] <= self.now_s]:
            if self._obeys:
                self.state = {UNCONFIGURED: INACTIVE, INACTIVE: ACTIVE}[self.state]
            if self._answers:
                future.set_result(ChangeState.Response(success=self._obeys))
        self._due = [each for each in self._due if each[0] > self.now_s]


def bring_up(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle_manager.time, "monotonic", lambda: wire.now_s)
    script = LifecycleManager(wire, [("agent", 0)], set).bring_up(20.0)
    while next(script, script) is not script:
        wire.wait(0.02)


@pytest.mark.parametrize("after_s", [0.0, 0.49, 0.5, 0.51, 0.52, 2.0, 4.0])
@pytest.mark.parametrize("answers", [True, False], ids=["answered", "answer lost"])
def test_a_late_question_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, after_s: float, answers: bool) -> None:
    wire = Wire(change_after_s=after_s, answers=answers)
    bring_up(wire, monkeypatch)
    assert (wire.state, wire.changes) == (ACTIVE, 2), "configured once, activated once"


def test_a_lost_question_is_asked_again_until_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(change_after_s=1e9)
    with pytest.raises(MissionError, match=r"not configured after 20.0 s .*: agent"):
        bring_up(wire, monkeypatch)
    assert 2 <= wire.changes <= 5


def test_a_refusal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(change_after_s=0.6, obeys=False)
    with pytest.raises(MissionError, match="could not be configured.*: agent"):
        bring_up(wire, monkeypatch)
    assert wire.changes == 1
