"""A node that cannot follow a transition says why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from sortie_core.config import UserError
from sortie_nodes.managed_node import ManagedNode

if TYPE_CHECKING:
    from conftest import Graph

pytestmark = pytest.mark.ros

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"


class Failing(ManagedNode):
    """Cannot load what it needs."""

    def __init__(self, error: Exception) -> None:
        super().__init__("failing", parameter_overrides=[Parameter("config_file", value=str(YAML))])
        self._error = error

    def prepare(self) -> None:
        raise self._error

    def vital_signs(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UserError("no such checkpoint"), TransitionCallbackReturn.FAILURE),
        (OSError("no space left"), TransitionCallbackReturn.ERROR),
    ],
    ids=["expected", "unexpected"],
)
def test_no_transition_fails_without_a_word(
    graph: Graph, capfd: pytest.CaptureFixture[str], error: Exception, outcome: TransitionCallbackReturn
) -> None:
    node = Failing(error)
    graph.add(node)
    assert node.trigger_configure() == outcome
    assert str(error) in capfd.readouterr().err
