"""Questions: what is flown for them, what their claims come to by hand, and what is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sortie_core.config import Config, UserError, load_config
from sortie_train.agreement import AGREEMENT, REASSIGNED
from sortie_train.answers import Answer, Estimate
from sortie_train.evaluate import evaluate
from sortie_train.flights import plan
from sortie_train.play import CURVE, STOCK
from sortie_train.questions import Asked, Point, ask
from sortie_train.teams import refuse_slow_radio

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).parents[2]
RADIUS: dict[str, Any] = {
    "asks": "How far?",
    "vary": "comm.radius_m",
    "values": [1.0, 5.0],
    "n_agents": [3, 4],
    "methods": ["greedy", "auction"],
    "figures": ["delivered_auc", "agreement"],
}


@pytest.fixture
def asking(configured: Callable[..., Config]) -> Callable[..., Config]:
    """The configuration that asks some questions."""

    def load(*overrides: str, **questions: dict[str, Any]) -> Config:
        config = configured("evaluation.methods=[greedy]", *overrides)
        return config.changed({"evaluation.suites": {}, "evaluation.questions": questions}, "test")

    return load


def changed(**changes: Any) -> dict[str, Any]:
    return RADIUS | changes


def test_every_value_case_size_and_method_is_flown_once(asking: Callable[..., Config]) -> None:
    cases = {"plain": {}, "near": {"comm.radius_m": 1.0, "task.n_consumers": 2}, "few": {"task.n_consumers": 2}}
    radius, again = ask(asking(radius=changed(cases=cases), again=changed(values=[5.0, 7.0])))
    assert list(radius.flights) == [
        Point(case, index, n_agents, method)
        for case in cases
        for index in (0, 1)
        for n_agents in (3, 4)
        for method in ("greedy", "auction")
    ]
    for point, (flight,) in radius.flights.items():
        config = flight.config
        # What is varied counts over what a case has.
        assert config.comm.radius_m == (1.0, 5.0)[point.value]
        assert config.task.n_consumers == (5 if point.case == "plain" else 2)
        assert (config.team.n_agents, flight.method, config.evaluation.agreement) == (*point[2:], True)
    flown = {id(flight) for each in (radius, again) for (flight,) in each.flights.values()}
    assert len(flown) == 2 * 2 * 2 * 2 + 2 * 2, "near and few are alike, and so is 5 m in both questions"


def test_only_the_questions_asked_for_are_flown(asking: Callable[..., Config]) -> None:
    config = asking("evaluation.ask=[second]", first=RADIUS, second=RADIUS)
    assert [each.name for each in ask(config)] == ["second"]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"valeus": [1]}, ["evaluation.questions.radius.valeus", "Extra inputs"]),
        ({"values": []}, ["evaluation.questions.radius.values"]),
        ({"vary": "comm.radius"}, ["evaluation.questions.radius", "comm.radius_m"]),
        ({"values": ["far"]}, ["evaluation.questions.radius", "comm.radius_m", "far"]),
        ({"figures": ["speed"]}, ["evaluation.questions.radius", "speed", "delivered_auc"]),
        ({"figures": ["recovery_steps"]}, ["undisturbed", "recovery_steps"]),
        ({"methods": ["gredy"]}, ["gredy", "did you mean greedy?"]),
        ({"methods": []}, ["methods"]),
        ({"vary": "method", "values": ["greedy"]}, ["methods"]),
        ({"cases": {"late": {"comm.latency_steps": 9}}}, ["comm.latency_steps=9", "sortie sim"]),
        ({"claims": [{"says": "so", "figure": "agreement"}]}, ["neither least nor most"]),
        ({"vary": "evaluation.n_layouts", "values": [1, 2]}, ["evaluation.n_layouts is the same for all points"]),
        ({"vary": "team.n_agents", "values": [5, 10], "n_agents": [8]}, ["n_agents: the team size is what is varied"]),
        ({"claims": [{"says": "so", "figure": CURVE, "least": 0}]}, ["figures", CURVE]),
        ({"claims": [{"says": "so", "figure": "settling_steps", "most": 1, "over": {"value": 5}}]}, ["over and minus"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_questions_that_make_no_sense_are_refused(
    asking: Callable[..., Config], changes: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        ask(asking(radius=changed(**changes)))
    message = str(refused.value)
    assert "\n" not in message
    assert [part for part in parts if part not in message] == [], message


def test_an_unknown_name_is_refused(asking: Callable[..., Config]) -> None:
    for name, hint in (("third", "there are first, second"), ("secnd", "did you mean second?")):
        with pytest.raises(UserError, match=rf"evaluation.ask: no question {name}; {re.escape(hint)}"):
            ask(asking(f"evaluation.ask=[{name}]", first=RADIUS, second=RADIUS))
    with pytest.raises(UserError, match="this configuration asks none"):
        ask(load_config(PROJECT / "configs" / "delivery.yaml", ["evaluation.ask=[first]"]))


def answered(asked: Asked, **figures: Callable[[Point], np.ndarray]) -> Answer:
    """With figures [L] made up for each point."""
    results = {
        flight: {name: make(point) for name, make in figures.items()}
        for point, (flight,) in asked.flights.items()
    }  # fmt: skip
    return Answer(asked, results)


def test_claims_are_decided_by_their_figures(asking: Callable[..., Config]) -> None:
    claims = [
        {"says": "0.5 of the auction", "figure": "delivered_auc", "over": {"method": "auction"}, "least": 0.5},
        {"says": "0.6 of the auction at 5 m", "figure": "delivered_auc", "over": {"method": "auction"}, "values": [5.0],
         "least": 0.6},
        {"says": "0.1 more at 5 m", "figure": "delivered_auc", "minus": {"value": 1.0}, "values": [5.0], "least": 0.05,
         "most": 0.15, "n_agents": [4]},
        {"says": "auction below 0.5", "figure": "delivered_auc", "of": "auction", "most": 0.5},
        {"says": "who knows"},
    ]  # fmt: skip
    (asked,) = ask(asking(radius=changed(claims=claims, figures=["delivered_auc"])))
    spread = np.linspace(-0.001, 0.001, 6)

    def auc(point: Point) -> np.ndarray:
        return (0.4 if point.method == "auction" else 0.21 + 0.1 * point.value) + spread

    verdicts = answered(asked, delivered_auc=auc).verdicts
    assert [(each.holds, each.clear) for each in verdicts] == [
        (True, True), (True, True), (True, True), (True, True), (None, True)
    ]  # fmt: skip
    assert list(verdicts[1].measured) == ["5, 3 drones", "5, 4 drones"]
    assert list(verdicts[2].measured) == ["5, 4 drones"]
    ratio = verdicts[0].measured["1, 3 drones"]
    assert ratio.mean == pytest.approx(0.21 / 0.4) and ratio.low < ratio.mean < ratio.high
    difference = verdicts[2].measured["5, 4 drones"]
    np.testing.assert_allclose((difference.mean, difference.low, difference.high), 0.1, atol=1e-9)

    def noisy(point: Point) -> np.ndarray:
        return auc(point) + np.array([-0.2, 0.2, -0.2, 0.2, -0.15, 0.1]) * (point.method == "greedy")

    assert [str(each) for each in answered(asked, delivered_auc=noisy).verdicts][0] == (
        "comes out, within the interval"
    )

    def poor(point: Point) -> np.ndarray:
        return 0.5 * auc(point)

    missed = answered(asked, delivered_auc=lambda point: poor(point) if point.method == "greedy" else auc(point))
    assert str(missed.verdicts[0]) == "does not come out"


def test_claims_about_what_is_not_flown_are_refused(asking: Callable[..., Config]) -> None:
    for claim, match in (
        ({"values": [2.0]}, "2.0 in claims is none of its values"),
        ({"of": "expert"}, "nothing is flown for the claim"),
        ({"over": {"method": "expert"}}, "nothing is flown for"),
        ({"n_agents": [3, 99]}, "nothing is flown with 99 drones"),
    ):
        said = {"says": "so", "figure": "delivered_auc", "least": 0.0} | claim
        with pytest.raises(UserError, match=match):
            ask(asking(radius=changed(claims=[said])))


EVENT: dict[str, Any] = {
    "asks": "And then?",
    "vary": "team.n_agents",
    "values": [8],
    "cases": {"struck": {"team.sudden_loss_share": 0.25}, "calm": {}},
    "keys": {
        "team.sudden_loss_s": [4.0, 4.0], "task.demand_change_s": [4.0, 4.0], "task.duration_s": 10.0,
    },
    "undisturbed": "calm",
    "methods": ["greedy"],
    "figures": ["recovery_steps", "settling_steps", "delivered_share"],
}  # fmt: skip
TICKS = np.arange(101)


def line(rates: dict[int, float]) -> np.ndarray:
    """A delivered share that begins at 0 and has another rate per tick from some ticks on."""
    steps = np.zeros(100)
    for start, rate in rates.items():
        steps[start:] = rate
    return np.concatenate([[0.0], steps.cumsum()])


@pytest.mark.parametrize(
    ("after_loss", "expected"),
    [
        ({40: 0.0080}, 0),  # the remaining stock allows 0.8 of 0.010, and 0.9 of that is enough
        ({40: 0.0020, 55: 0.0080}, 15),
        ({40: 0.0020, 52: 0.0080}, 12),
        ({40: 0.0060}, np.inf),
    ],
)
def test_a_rate_is_regained_when_it_is_what_the_remaining_stock_allows(
    asking: Callable[..., Config], after_loss: dict[int, float], expected: float
) -> None:
    (asked,) = ask(asking(event=EVENT))

    def curve(point: Point) -> np.ndarray:
        return np.tile(line({0: 0.010} | (after_loss if point.case == "struck" else {})), (6, 1))

    def stock(point: Point) -> np.ndarray:
        return np.tile(np.where((TICKS >= 40) & (point.case == "struck"), 0.8, 1.0), (6, 1))

    answer = answered(asked, **{CURVE: curve, STOCK: stock})
    estimate = answer.estimate(Point("struck", 0, 8, "greedy"), "recovery_steps")
    assert estimate.mean == pytest.approx(expected)
    assert str(estimate).startswith("never" if expected == np.inf else str(expected))
    calm = answer.estimate(Point("calm", 0, 8, "greedy"), "recovery_steps")
    assert np.isnan(calm.mean)
    assert str(calm) == "-"


def test_an_assignment_has_settled_when_it_agrees_and_rests(asking: Callable[..., Config]) -> None:
    (asked,) = ask(asking(event=EVENT))
    decisions = np.arange(20)

    def agreement(point: Point) -> np.ndarray:
        struck = (point.case == "struck") & (decisions >= 8)
        return np.tile(np.where(struck & (decisions < 9), 0.7, 0.95), (6, 1))

    def reassigned(point: Point) -> np.ndarray:
        struck = (point.case == "struck") & (decisions >= 8)
        return np.tile(np.where(struck & (decisions < 11), 0.4, 0.1), (6, 1))

    answer = answered(asked, **{AGREEMENT: agreement, REASSIGNED: reassigned})
    assert answer.estimate(Point("struck", 0, 8, "greedy"), "settling_steps") == Estimate(15.0, 15.0, 15.0)


@pytest.mark.parametrize(
    ("when_s", "match"),
    [([3.0, 4.0], r"\[3.0, 4.0\] is no single moment"), ([0.0, 0.0], "0 s leaves no time before the event")],
)
def test_a_moment_that_is_drawn_or_too_early_gives_no_steps(
    asking: Callable[..., Config], when_s: list[float], match: str
) -> None:
    moved = EVENT | {"keys": EVENT["keys"] | {"team.sudden_loss_s": when_s}}
    (asked,) = ask(asking(event=moved))
    answer = answered(asked, **{CURVE: lambda _: np.ones((6, 101)), STOCK: lambda _: np.ones((6, 101))})
    with pytest.raises(UserError, match=f"team.sudden_loss_s: {match}"):
        answer.estimate(Point("struck", 0, 8, "greedy"), "recovery_steps")


def test_missions_of_which_one_side_cannot_tell_are_left_out_of_comparisons(asking: Callable[..., Config]) -> None:
    claims = [
        {"says": "half", "figure": "time_to_90_s", "over": {"value": 5.0}, "values": [1.0], "most": 0.5},
        {"says": "less", "figure": "time_to_90_s", "minus": {"value": 5.0}, "values": [1.0], "most": -2.0},
    ]
    (asked,) = ask(asking(radius=changed(claims=claims, figures=["time_to_90_s"])))
    near, far = np.array([2.0, np.nan, 2.0, 1.0, 2.0, 2.0]), np.array([4.0, 4.0, 4.0, np.nan, 4.0, 4.0])
    answer = answered(asked, time_to_90_s=lambda point: near if point.value == 0 else far)
    half, less = answer.verdicts
    assert [str(each) for each in (half, less)] == ["comes out"] * 2
    assert next(iter(half.measured.values())) == Estimate(0.5, 0.5, 0.5)
    assert next(iter(less.measured.values())) == Estimate(-2.0, -2.0, -2.0)
    nothing = answered(asked, time_to_90_s=lambda point: near * np.nan if point.value == 0 else far)
    assert [str(each) for each in nothing.verdicts] == ["not decided by a figure"] * 2


def test_the_report_holds_every_question_claim_and_point(
    asking: Callable[..., Config], fresh_policies: str, tmp_path: Path
) -> None:
    claims = [{"says": "Half the auction", "figure": "delivered_auc", "over": {"method": "auction"}, "least": 0.1}]
    names = {
        "vary": "method",
        "values": ["lgtc", "lgtc_alone"],
        "figures": ["contraction_rate_per_s"],
        "asks": "Which?",
    }
    method = {key: value for key, value in RADIUS.items() if key != "methods"} | names | {"n_agents": [3]}
    event = {key: value for key, value in EVENT.items() if key != "keys"} | {
        "keys": {"team.sudden_loss_s": [1.0, 1.0], "task.demand_change_s": [1.0, 1.0]}, "values": [4],
    }  # fmt: skip
    config = asking(
        f"evaluation.checkpoints={fresh_policies}",
        "evaluation.learned={lgtc: {}, lgtc_alone: {policy.exchanges: 0}}",
        "evaluation.train_seeds=[1, 2]",
        radius=changed(claims=claims, methods=["lgtc", "auction"], n_agents=[3]),
        method=method,
        event=event,
    )
    asked, out = ask(config), tmp_path / "run"
    rows = evaluate(config, plan(config), out, asked=asked)
    assert rows == json.loads((out / "questions.json").read_text(encoding="utf-8"))
    assert [(row["question"], row["value"], row["method"]) for row in rows] == [
        ("radius", "1", "lgtc"), ("radius", "1", "auction"), ("radius", "5", "lgtc"), ("radius", "5", "auction"),
        ("method", "lgtc", "lgtc"), ("method", "lgtc_alone", "lgtc_alone"),
        ("event", "4", "greedy"), ("event", "4", "greedy"),
    ]  # fmt: skip
    assert [row["n_train_seeds"] for row in rows] == [2, 0, 2, 0, 2, 2, 0, 0]
    by_hand = np.mean(
        [np.load(path)["delivered_auc"] for path in (out / "results").glob("radius-plain-1-3-lgtc-*.npz")]
    )
    assert rows[2]["delivered_auc"] == pytest.approx(by_hand)
    assert rows[4]["contraction_rate_per_s"] == pytest.approx(0.1)
    text = (out / "report.md").read_text(encoding="utf-8")
    for part in ("## radius: How far?", "Half the auction", "comes out", "## method: Which?", "recovery_steps"):
        assert part in text
    for name in ("radius", "method", "event"):
        assert (out / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_shipped_questions_can_be_flown_and_their_claims_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each claim names points that are flown and bounds that can be met, whatever the figures."""
    monkeypatch.setattr("sortie_train.questions.sources", lambda _, methods: {name: [(None, {})] for name in methods})
    monkeypatch.setattr("sortie_train.questions.content_key", lambda flight: str(id(flight)))
    monkeypatch.setattr("sortie_train.flights.Flight.make_team", lambda _: None)
    monkeypatch.setattr("sortie_train.answers.load_metadata", lambda _: {"contraction_rate": 0.5})
    path = PROJECT / "configs" / "evaluate" / "questions.yaml"
    config = load_config(path, ["evaluation.ask=[]"])
    questions = ask(config)
    assert {each.name for each in questions} == set(config.evaluation.questions)
    # What is asked by default, the shipped checkpoints can answer.
    by_default = {method for each in ask(load_config(path)) for method in each.question.flown}
    assert by_default & set(config.evaluation.learned) == {"lgtc"}
    for asked in questions:
        for flight in (flight for flights in asked.flights.values() for flight in flights):
            refuse_slow_radio(flight.config)
        steps = max(flight.config.n_steps for flights in asked.flights.values() for flight in flights)
        flat = {name: np.ones(6) for name in ("delivered_auc", "delivered_fraction", "agreement")}
        curves = {name: np.ones((6, steps + 1)) for name in (CURVE, STOCK, AGREEMENT, REASSIGNED)}
        answer = Answer(asked, {flight: flat | curves for each in asked.flights.values() for flight in each})
        assert asked.question.claims
        for verdict in answer.verdicts:
            assert verdict.measured or verdict.holds is None
