"""A network of the user's own: flown and trained by name, and refused in a line that says what is wrong with it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sortie_core.config import UserError, load_config
from sortie_policy.baseline_networks import MLPPolicy
from sortie_policy.team_policy import make_policy
from sortie_train.train_ippo import Trainer
from sortie_train.try_out import try_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config

CONFIG = Path(__file__).parents[2] / "configs" / "delivery.yaml"
NUMBERS = itertools.count()
OWN = """
from dataclasses import replace
from sortie_policy.baseline_networks import MLPPolicy

class Net(MLPPolicy):
    calls = 0
    def __init__(self, config, *width):
        super().__init__({argument}, *width)

    def outcome(self, perception, new_state):
        self.calls += 1
        out = super().outcome(perception, new_state)
        return {outcome}
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """The configuration of a network whose constructor takes `argument` and whose outcome is `outcome`."""

    def write(*overrides: str, argument: str = "config", outcome: str = "out", more: str = "") -> Config:
        name = f"own_net_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(OWN.format(argument=argument, outcome=outcome) + more, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return load_config(CONFIG, [f"policy.network={name}:Net", *overrides])

    return write


def refusal(config: Config) -> str:
    with pytest.raises(UserError, match=f"^policy.network: {config.policy.network} ") as told:
        try_out(make_policy(config), config)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("out[0]", "fails at a decision (TypeError: 'Deliberation' object is not subscriptable, at own_net"),
        ("None", "fails at a decision (AttributeError: 'NoneType' object has no attribute"),
        ("replace(out, support=None)", "fails at a decision (AttributeError"),
        ("replace(out, log_choice=out.log_choice[..., 1:])", "log_choice of shape (3, 8, 3), not (3, 8, 4)"),
        ("replace(out, value=out.value[0])", "value of shape (8,), not (3, 8)"),
        ("replace(out, value=out.value[..., None])", "value of shape (3, 8, 1), not (3, 8)"),
        ("replace(out, support=out.log_choice)", "support of shape (3, 8, 4), not (3, 8, 8)"),
        ("replace(out, log_choice=out.log_choice + 1)", "use log_softmax"),
        ("replace(out, correction=out.correction * float('nan'))", "correction with values that are no numbers"),
        ("replace(out, log_choice=out.log_choice.roll(self.calls, -1))", "decides otherwise when training replays"),
    ],
)
def test_what_is_wrong_with_a_decision_is_told_in_a_line(
    made: Callable[..., Config], outcome: str, reason: str
) -> None:
    assert reason in refusal(made(outcome=outcome))


def test_one_that_cannot_be_made_is_refused_with_the_place_in_its_own_file(made: Callable[..., Config]) -> None:
    config = made(argument="config.nothing")
    file = config.policy.network.partition(":")[0]
    assert refusal(config).endswith(f"cannot be made of a configuration (AttributeError: 'Config' object has no "
                                    f"attribute 'nothing', at {file}.py:8)")  # fmt: skip
    assert ", at own_net" in refusal(made(argument="__import__('json').loads('[')")), "not in the library"


@pytest.mark.parametrize("radio", [[], ["comm.loss=0.3"], ["task.demand_sensing=relayed"], ["team.n_agents=1"]])
def test_one_that_is_right_is_let_pass(made: Callable[..., Config], radio: list[str]) -> None:
    config = made(*radio)
    policy = make_policy(config)
    assert isinstance(policy, MLPPolicy)
    try_out(policy, config)


def test_what_fails_with_what_single_agents_know_is_found_where_they_do(made: Callable[..., Config]) -> None:
    outcome = "out if perception.log_choice.sum() and self.seen.need.ndim == 3 else None"
    more = """
    def perceive(self, seen, *rest):
        self.seen = seen
        return super().perceive(seen, *rest)
"""
    config = made(outcome=outcome, more=more)
    try_out(make_policy(config), config)
    relayed = config.override(["task.demand_sensing=relayed"])
    assert "fails at a decision" in refusal(relayed)


def test_late_packets_are_refused_before_the_training(made: Callable[..., Config], tmp_path: Path) -> None:
    """Also where only a scenario has them, which comes in late in the training."""
    config = made("train.scenarios=[{}, {comm.latency_steps: 2}]", "train.curriculum_fraction=0.5")
    with pytest.raises(UserError, match="comm.latency_steps: Net does not model late packets"):
        Trainer(config, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()
