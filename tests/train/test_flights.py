"""What is flown, by whom, and what is refused in one line before anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_core.config import Config, UserError
from sortie_train.evaluate import evaluate
from sortie_train.flights import plan
from sortie_train.teams import REFERENCES, make_team

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sortie_core.state import WorldState


def test_every_method_flies_every_suite_in_its_sizes_by_every_seed(
    configured: Callable[..., Config], fresh_policies: str
) -> None:
    config = configured(
        f"evaluation.checkpoints={fresh_policies}", "evaluation.methods=[greedy, lgtc]",
        "evaluation.train_seeds=[3, 1]", "evaluation.n_agents=[2, 6]",
        "evaluation.suites={plain: {}, few: {team.n_agents: 3, comm.radius_m: 1.0}}",
    )  # fmt: skip
    flights = plan(config)
    assert [(each.suite, each.n_agents, each.method, each.train_seed) for each in flights] == [
        (suite, n_agents, method, seed)
        for suite, n_agents in (("plain", 2), ("plain", 6), ("few", 3))
        for method, seed in (("greedy", None), ("lgtc", 3), ("lgtc", 1))
    ]
    assert {each.config.comm.radius_m for each in flights if each.suite == "few"} == {1.0}
    assert [each.config.policy.checkpoint[-6:] for each in flights[1:3]] == ["3.ckpt", "1.ckpt"]
    assert len({each.name for each in flights}) == len(flights)


def test_methods_that_are_slow_for_large_teams_leave_those_out(configured: Callable[..., Config]) -> None:
    sizes, limits = "evaluation.n_agents=[3, 6, 9]", "evaluation.most_agents={value_greedy: 6, expert: 2}"
    flights = plan(configured(sizes, limits, "evaluation.methods=[greedy, value_greedy, expert]"))
    assert [each.name for each in flights] == [
        "scarce-3-greedy", "scarce-3-value_greedy", "scarce-6-greedy", "scarce-6-value_greedy", "scarce-9-greedy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["evaluation.most_agents={gredy: 3}"], ["evaluation.most_agents", "gredy"]),
        (["evaluation.most_agents={greedy: 2}", "evaluation.methods=[greedy]"],
         ["evaluation.most_agents: leaves no method for any team of suite scarce"]),
        (["evaluation.methods=[gredy]"], ["evaluation.methods", "gredy", "did you mean greedy?"]),
        (["evaluation.methods=[luck]"], ["evaluation.methods", "luck", "references are greedy"]),
        (["evaluation.methods=['no.such:Thing']"], ["no.such:Thing", "cannot be imported"]),
        (["evaluation.methods=['sortie_core.config:Thing']"], ["sortie_core.config:Thing", "cannot be imported"]),
        (["evaluation.methods=['sortie_core.config:Config']"], ["sortie_core.config:Config", "cannot be made"]),
        (["evaluation.methods=['sortie_core.config:content_hash']"], ["content_hash", "cannot be made"]),
        (["evaluation.methods=['sortie_core.config:UserError']"], ["sortie_core.config:UserError", "choose(state)"]),
        (["evaluation.methods=[lgtc]", "evaluation.train_seeds=[1, 9]"],
         ["evaluation.checkpoints", "lgtc-9.ckpt", "`sortie sweep`", "change evaluation.methods or evaluation.train_"]),
        (["evaluation.learned={lgtc: {team: {n_agents: 2}}}", "evaluation.methods=[lgtc]"],
         ["evaluation.learned.lgtc: team is a section"]),
        (["evaluation.methods=[lgtc]", "evaluation.train_seeds=[]"], ["policy.checkpoint"]),
        (["evaluation.methods=[lgtc, lgtc_alone]", "evaluation.train_seeds=[]"],
         ["evaluation.train_seeds", "lgtc_alone"]),
        (["evaluation.learned={greedy: {}}"], ["evaluation.learned", "greedy", "rename"]),
        (["evaluation.learned={lgtc: {policy.exchange: 1}}", "evaluation.methods=[lgtc]"], ["policy.exchange"]),
        (["evaluation.learned={lgtc: {policy.exchanges: 2}}", "evaluation.methods=[lgtc]"],
         ["lgtc-1.ckpt", "policy.exchanges=3", "policy.exchanges=2"]),
        (["evaluation.methods=[lgtc]", "evaluation.learned={lgtc: {}, deaf: {policy.exchanges: 0}}",
          "policy.exchanges=2"], ["lgtc-1.ckpt", "policy.exchanges=3", "policy.exchanges=2"]),
        (["task.demand_sensing=relayed"], ["greedy is told every demand", "task.demand_sensing=relayed", "auction"]),
        (["evaluation.methods=[lgtc]", "policy.network=mlp"], ["lgtc-1.ckpt", "policy.network=lgtc", "=mlp"]),
        (["evaluation.suites={odd: {comm.radius: 3}}"], ["evaluation.suites.odd", "comm.radius_m"]),
        (["evaluation.suites={odd: {comm.radius_m: far}}"], ["evaluation.suites.odd", "comm.radius_m", "far"]),
        (["evaluation.suites={odd: {evaluation.n_layouts: 3}}"], ["evaluation.suites.odd", "evaluation.n_layouts"]),
        (["comm.bandwidth_bytes_per_s=1000"], ["comm.bandwidth_bytes_per_s", "sortie sim"]),
        (["evaluation.methods=[lgtc]", "policy.decision_steps=2"], ["lgtc-1.ckpt", "policy.decision_steps"]),
        (["evaluation.methods=[lgtc]", "comm.radius_m=2.0", "policy.accept_mismatch=false"], ["comm.radius_m"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_what_cannot_be_flown_is_refused_in_one_line(
    configured: Callable[..., Config], fresh_policies: str, overrides: list[str], parts: list[str]
) -> None:
    common = [
        f"evaluation.checkpoints={fresh_policies}", "evaluation.train_seeds=[1]", "evaluation.n_agents=[3]",
        "evaluation.methods=[greedy]", "evaluation.learned={lgtc: {}, lgtc_alone: {policy.exchanges: 0}}",
        "policy.checkpoint=absent.ckpt",
    ]  # fmt: skip
    with pytest.raises(UserError) as refused:
        plan(configured(*common, *overrides))
    message = str(refused.value)
    assert "\n" not in message
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    ("pattern", "named"), [("one.ckpt", "{seed}"), ("./{method}.ckpt", "{seed}"), ("./{seed}.ckpt", "{method}")]
)
def test_one_file_is_not_taken_for_several_policies(
    configured: Callable[..., Config], pattern: str, named: str
) -> None:
    with pytest.raises(UserError, match="evaluation.checkpoints") as refused:
        plan(
            configured(
                f"evaluation.checkpoints={pattern}", "evaluation.methods=[lgtc, lgtc_no_exchange]",
                "evaluation.train_seeds=[1, 2]",
            )
        )  # fmt: skip
    assert named in str(refused.value)


def test_a_checkpoint_of_another_seed_is_refused(configured: Callable[..., Config], fresh_policies: str) -> None:
    pattern = fresh_policies.replace("{seed}", "1").replace("{method}", "lgtc")
    config = configured(f"evaluation.checkpoints={pattern}", "evaluation.methods=[lgtc]", "evaluation.train_seeds=[2]")
    with pytest.raises(UserError, match="seed=1, but lgtc asks for seed=2"):
        plan(config)


OWN = """
import numpy as np

class {name}:
    def __init__(self, config):
        self.config = config
    def choose(self, state):
        return {result}
"""


@pytest.fixture
def own_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a user's module and name the class in it."""

    def write(result: str) -> str:
        name = f"Own{abs(hash(result))}"
        (tmp_path / f"module_of_{name}.py").write_text(OWN.format(name=name, result=result), encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        return f"module_of_{name}:{name}"

    return write


def test_a_class_of_ones_own_flies_like_any_other(
    configured: Callable[..., Config], own_class: Callable[[str], str], tmp_path: Path
) -> None:
    """One that sends everybody to the nearest need is nearest-need greedy."""
    method = own_class("__import__('sortie_expert.greedy').greedy.nearest_need(state, self.config)")
    config = configured(f"evaluation.methods=['{method}', greedy]", "evaluation.n_agents=[4]")
    own, greedy, best = evaluate(config, plan(config), tmp_path / "run")
    assert (own["method"], best["method"]) == (method, "best_reference")
    assert own | {"method": "greedy"} == greedy


def test_a_class_that_cannot_be_made_is_named_with_its_reason(
    configured: Callable[..., Config], own_class: Callable[[str], str], tmp_path: Path
) -> None:
    method = own_class("self.nothing")
    module, _, name = method.partition(":")
    file = tmp_path / f"{module}.py"
    file.write_text(
        file.read_text(encoding="utf-8").replace("self.config = config", "config.no_such_section"), encoding="utf-8"
    )
    with pytest.raises(
        UserError, match=f"{method} cannot be made of a configuration .AttributeError: .*no_such_section"
    ):
        make_team(method, configured())


def test_a_class_that_fails_at_a_decision_is_named_with_reason_and_place(
    configured: Callable[..., Config], own_class: Callable[[str], str], three_missions: WorldState
) -> None:
    method = own_class("state.no_such_array")
    file = f"{method.partition(':')[0]}.py"
    with pytest.raises(UserError, match=rf"{method}.choose failed .AttributeError: .*no_such_array.*, at {file}:\d+"):
        make_team(method, configured()).choose(three_missions)


@pytest.mark.parametrize("sent", ["np.zeros(77)", "np.zeros((3, 4))", "'much'"])
def test_bytes_that_are_none_are_refused(
    configured: Callable[..., Config], own_class: Callable[[str], str], three_missions: WorldState, sent: str
) -> None:
    team = make_team(
        own_class(f"setattr(self, 'bytes_sent', {sent}) or np.zeros(state.present.shape, int)"), configured()
    )
    team.choose(three_missions)
    with pytest.raises(UserError, match=r"bytes_sent must be numbers of shape \(3,\), .* not "):
        team.bytes_sent  # noqa: B018


def test_a_class_that_plans_in_place_does_not_change_the_mission(
    configured: Callable[..., Config], own_class: Callable[[str], str], three_missions: WorldState
) -> None:
    team = make_team(own_class("state.unmet.fill(0) or np.zeros(state.present.shape, int)"), configured())
    before = three_missions.unmet.copy()
    team.choose(three_missions)
    assert np.array_equal(three_missions.unmet, before)
    assert before.any()


@pytest.mark.parametrize(
    "result",
    ["np.zeros(state.present.shape)", "np.zeros((1, 1), int)", "np.full(state.present.shape, -1)",
     "np.full(state.present.shape, state.unmet.shape[1] + 1)", "None"],
)  # fmt: skip
def test_choices_that_are_none_are_refused(
    configured: Callable[..., Config], own_class: Callable[[str], str], result: str, three_missions: WorldState
) -> None:
    method = own_class(result)
    team = make_team(method, configured())
    with pytest.raises(UserError, match=rf"{method}.choose must give integers from 0 to 5 of shape \(3, 4\)"):
        team.choose(three_missions)


@pytest.fixture
def three_missions(configured: Callable[..., Config]) -> WorldState:
    from sortie_core.layout import sample_layout

    return sample_layout(configured(), range(3))


@pytest.mark.parametrize("method", sorted(REFERENCES))
def test_every_reference_leads_a_batch(
    method: str, configured: Callable[..., Config], three_missions: WorldState
) -> None:
    team = make_team(method, configured())
    choice, correction = team.choose(three_missions)
    assert correction is None
    assert choice.shape == (3, 4)
    assert np.asarray(team.bytes_sent).shape == (3,)
    assert (team.bytes_sent >= 0).all()
    assert (choice < 5).any(), "somebody is sent somewhere"
