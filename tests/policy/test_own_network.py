"""A network of the user's own: flown and trained by name, and refused in a line that says what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sortie_core.config import UserError, load_config
from sortie_policy.baseline_networks import MLPPolicy
from sortie_policy.team_policy import make_policy

CONFIG = Path(__file__).parents[2] / "configs" / "delivery.yaml"
OWN = """
from dataclasses import replace
from sortie_policy.baseline_networks import MLPPolicy

class Net(MLPPolicy):
    def __init__(self, config, *width):
        super().__init__({argument}, *width)

    def outcome(self, perception, new_state):
        out = super().outcome(perception, new_state)
        return {outcome}
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"argument": "config.nothing"},
            r"cannot be made of a configuration \(AttributeError: .*, at own_net_1.py:7\)",
        ),
        ({"outcome": "out[0]"}, r"fails at a decision \(TypeError: .*, at own_net_1.py:11\)"),
        (
            {"outcome": "replace(out, log_choice=out.log_choice[..., 1:])"},
            r"log_choice of shape \(2, 8, 3\), not \(2, 8, 4\)",
        ),
        ({"outcome": "replace(out, value=out.value[0])"}, r"value of shape \(8,\), not \(2, 8\)"),
        ({"outcome": "replace(out, support=out.log_choice)"}, r"support of shape .*, not \(2, 8, 8\)"),
    ],
)
def test_what_is_wrong_with_it_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    (tmp_path / "own_net_1.py").write_text(OWN.format(**{"argument": "config", "outcome": "out"} | changes))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_net_1", raising=False)
    config = load_config(CONFIG, ["policy.network=own_net_1:Net"])
    with pytest.raises(UserError, match=f"^policy.network: own_net_1:Net .*{message}") as told:
        make_policy(config)
    assert "\n" not in str(told.value)


def test_one_that_is_right_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net_2.py").write_text(OWN.format(argument="config", outcome="out"))
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(make_policy(load_config(CONFIG, ["policy.network=own_net_2:Net"])), MLPPolicy)
