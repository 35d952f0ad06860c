"""Open questions as `evaluation.questions` puts them: what is varied, what is flown for it, and what is claimed.

A question varies one key, or the method, over some values, in one or more cases and team sizes. Its claims say what a
source reports or what this project asks for, each with a rule that tells whether it comes out.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from sortie_core.config import UserError
from sortie_core.config_sections import Count, Name, Overrides, Section
from sortie_train.after_events import AFTER_EVENTS
from sortie_train.agreement import AGREEMENT, REASSIGNED
from sortie_train.flights import Flight, sources
from sortie_train.play import CURVE
from sortie_train.results import content_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sortie_core.config import Config

METHOD = "method"
"""Value of `Question.vary` where the values are methods."""
CONTRACTION = "contraction_rate_per_s"
OVER_TIME = (CURVE, AGREEMENT, REASSIGNED)
_PER_MISSION = (
    "delivered_auc", "delivered_fraction", "deliverable_fraction", "time_to_90_s", "collisions",
    "collisions_per_agent_minute", "min_separation_m", "energy_proxy", "elapsed_s", "return", "bytes_per_agent_s",
    "neighbours", "agreement",
)  # fmt: skip
_OF_AGREEMENT = ("agreement", AGREEMENT, REASSIGNED, "settling_steps")


class Claim(Section):
    """What is claimed, and the rule that decides: a figure, or its ratio or difference to another point's, bounded.

    Attributes:
        says: the claim in words, with who says it.
        figure: which figure decides; None where nothing can.
        of: the method; None for the question's first.
        case: None for the question's first.
        over: what the figure is divided by: the same at another method, value or case.
        minus: what is subtracted instead.
        values: where it must hold, of the question's values; empty = at all of them.
        n_agents: the same of the team sizes.
        least: lowest figure with which the claim comes out.
        most: highest one.
    """

    says: str
    figure: str | None = None
    of: str | None = None
    case: Name | None = None
    over: dict[Literal["method", "value", "case"], Any] | None = None
    minus: dict[Literal["method", "value", "case"], Any] | None = None
    values: list[Any] = []
    n_agents: list[Count] = []
    least: float | None = None
    most: float | None = None

    @model_validator(mode="after")
    def _decidable(self) -> Claim:
        if self.figure and self.least is None and self.most is None:
            raise ValueError(f"claims: {self.figure} decides {self.says!r}, but neither least nor most bounds it")
        if self.over and self.minus:
            raise ValueError(f"claims: {self.says!r} has both over and minus; leave one out")
        if self.figure in AFTER_EVENTS and (self.over or self.minus):
            raise ValueError(f"claims: {self.figure} is of all missions together; leave over and minus out")
        return self


class Question(Section):
    """What is asked, and what is flown to answer it.

    Attributes:
        asks: the question in words.
        vary: the key that is varied; or "method".
        values: of it, in the order of the axis.
        keys: changed keys of all points.
        cases: changed keys by the name of the case; lines of the plot.
        undisturbed: the case without the event, where figures tell how a team gets over one.
        n_agents: team sizes; empty = team.n_agents.
        methods: who flies.
        figures: panels of the plot.
        claims: what is held against the answer.
    """

    asks: str
    vary: str
    values: Annotated[list[Any], Field(min_length=1)]
    keys: Overrides = {}
    cases: Annotated[dict[Name, Overrides], Field(min_length=1)] = {"plain": {}}
    undisturbed: Name | None = None
    n_agents: list[Count] = []
    methods: list[str] = []
    figures: Annotated[list[str], Field(min_length=1)]
    claims: list[Claim] = []

    @model_validator(mode="after")
    def _names_fit(self) -> Question:
        known = [*_PER_MISSION, *AFTER_EVENTS, *OVER_TIME, CONTRACTION]
        decided = [claim.figure for claim in self.claims if claim.figure]
        for figure in [*self.figures, *decided]:
            if figure not in known or (figure in OVER_TIME and figure in decided):
                raise ValueError(f"figures: {figure} is none; there are {', '.join(known)}")
            if figure in AFTER_EVENTS and self.undisturbed not in self.cases:
                raise ValueError(f"undisturbed: {figure} needs the name of the case without the event")
        if self.vary == "team.n_agents" and self.n_agents:
            raise ValueError("n_agents: the team size is what is varied; leave it out")
        if own := [
            key for key in [self.vary, *self.keys, *chain(*self.cases.values())] if key.startswith("evaluation")
        ]:
            raise ValueError(f"{own[0]} is the same for all points; set it outside the questions")
        if bool(self.methods) == (self.vary == METHOD):
            raise ValueError("methods: names those who fly, unless vary is method, where the values do")
        return self

    @property
    def flown(self) -> list[str]:
        """The methods that fly."""
        return [str(value) for value in self.values] if self.vary == METHOD else self.methods


class Point(NamedTuple):
    """One place in a question's plot; `value` is an index into its values."""

    case: str
    value: int
    n_agents: int
    method: str


@dataclass(frozen=True)
class Asked:
    """A question with its flights.

    Attributes:
        name: of the question.
        question: as put.
        flights: by point, one for each training seed.
        config: of all points, before any change.
    """

    name: str
    question: Question
    flights: dict[Point, list[Flight]]
    config: Config

    @property
    def sizes(self) -> list[int]:
        """The team sizes."""
        return list(dict.fromkeys(point.n_agents for point in self.flights))

    def claimed(self, claim: Claim) -> list[tuple[Point, Point | None]]:
        """The points that a claim is about, each with the one its figure is held against.

        Raises:
            UserError: it is about what is not flown.
        """
        values = [self._index(value) for value in claim.values] or list(range(len(self.question.values)))
        if strange := [size for size in claim.n_agents if size not in self.sizes]:
            raise UserError(f"evaluation.questions.{self.name}: nothing is flown with {strange[0]} drones, as claimed")
        case = claim.case or next(iter(self.question.cases))
        points = [
            Point(case, index, n_agents, claim.of or self._method(index))
            for index in values
            for n_agents in claim.n_agents or self.sizes
        ]
        found = [point for point in points if point in self.flights]
        if not found:
            raise UserError(f"evaluation.questions.{self.name}: nothing is flown for the claim {claim.says!r}")
        other = claim.over or claim.minus
        return [(point, self._moved(point, other) if other else None) for point in found]

    def _method(self, index: int) -> str:
        return self.question.flown[index if self.question.vary == METHOD else 0]

    def _index(self, value: Any) -> int:
        if value not in self.question.values:
            raise UserError(f"evaluation.questions.{self.name}: {value} in claims is none of its values")
        return self.question.values.index(value)

    def _moved(self, point: Point, where: dict[Any, Any]) -> Point:
        index = self._index(where["value"]) if "value" in where else point.value
        method = where.get("method", self._method(index) if self.question.vary == METHOD else point.method)
        moved = Point(where.get("case", point.case), index, point.n_agents, method)
        if moved not in self.flights:
            raise UserError(f"evaluation.questions.{self.name}: nothing is flown for {where} of its claims")
        return moved


def ask(config: Config) -> list[Asked]:
    """The questions of `evaluation.questions` that `evaluation.ask` names, or all; points that are alike share flights.

    Raises:
        UserError: a question that makes no sense, or what `flights.plan` refuses.
    """
    evaluation = config.evaluation
    if unknown := [name for name in evaluation.ask if name not in evaluation.questions]:
        close = difflib.get_close_matches(unknown[0], evaluation.questions, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(evaluation.questions)}"
        if not evaluation.questions:
            hint = "this configuration asks none; configs/evaluate/questions.yaml does"
        raise UserError(f"evaluation.ask: no question {unknown[0]}; {hint}; [] asks all")
    names = evaluation.ask or list(evaluation.questions)
    questions = {name: _parsed(name, evaluation.questions[name]) for name in names}
    known = sources(config, [method for question in questions.values() for method in question.flown])
    same: dict[str, Flight] = {}
    asked = [
        Asked(name, question, dict(_points(name, question, config, known, same)), config)
        for name, question in questions.items()
    ]
    for each in asked:
        for claim in each.question.claims:
            each.claimed(claim)  # refuses what is not flown, before anything flies
    return asked


def _parsed(name: str, data: dict[str, Any]) -> Question:
    try:
        return Question.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("evaluation.questions", name, *first["loc"])))
        raise UserError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _points(
    name: str,
    question: Question,
    config: Config,
    known: dict[str, list[tuple[int | None, dict[str, Any]]]],
    same: dict[str, Flight],
) -> Iterator[tuple[Point, list[Flight]]]:
    source = f"evaluation.questions.{name}"
    agreement = any(figure in _OF_AGREEMENT for figure in [*question.figures, *(c.figure for c in question.claims)])
    for case, changes in question.cases.items():
        for index, value in enumerate(question.values):
            varied = {} if question.vary == METHOD else {question.vary: value}
            here = config.changed(question.keys | changes | varied | {"evaluation.agreement": agreement}, source)
            for n_agents in question.n_agents or [here.team.n_agents]:
                sized = here.changed({"team.n_agents": n_agents}, source)
                for method in [str(value)] if question.vary == METHOD else question.methods:
                    flights = [
                        Flight(f"{name}-{case}-{index}", method, seed, sized.changed(key, source))
                        for seed, key in known[method]
                    ]
                    flights[0].make_team()  # refuses what cannot be flown
                    yield (
                        Point(case, index, n_agents, method),
                        [same.setdefault(content_key(flight), flight) for flight in flights],
                    )
