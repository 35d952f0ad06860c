"""The configuration of a cluster run: every key with its bounds; configs/cluster.yaml says what each is for."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sortie_cluster.reports import Reports
from sortie_core.config import Configuration
from sortie_core.config_sections import (
    Count,
    FloatRange,
    NonNegative,
    Overrides,
    Positive,
    PositiveOrInf,
    Probability,
    Section,
    Seed,
)


def _once(value: list[str]) -> list[str]:
    for name in value:
        if value.count(name) > 1:
            raise ValueError(f"{name} is named twice; name each once")
    return value


Names = Annotated[list[str], AfterValidator(_once)]


class Trace(Section):
    """Where tasks come from."""

    path: str
    n_jobs: Count
    seed: Seed
    from_s: NonNegative
    until_s: PositiveOrInf
    window: Literal["train", "validation", "test", "all"]
    duration_s: tuple[PositiveOrInf, PositiveOrInf]

    @model_validator(mode="after")
    def _ordered(self) -> Trace:
        if self.from_s >= self.until_s:
            raise ValueError(f"until_s: {self.until_s:g} is not after from_s = {self.from_s:g}; raise it")
        if self.duration_s[0] > self.duration_s[1]:
            raise ValueError(
                f"duration_s: {list(self.duration_s)} is not [shortest, longest]; put the smaller number first"
            )
        return self


class Nodes(Section):
    """The cluster's nodes and who hears whom."""

    n_nodes: Count
    topology: Literal["scattered", "ring", "full"]
    mean_degree: Positive
    cores: Annotated[list[Positive], Field(min_length=1)]
    memory: Annotated[list[Positive], Field(min_length=1)]
    speed: FloatRange
    hop_s: NonNegative

    @model_validator(mode="after")
    def _can_be_laid_out(self) -> Nodes:
        if self.speed[0] <= 0:
            raise ValueError(f"speed: {self.speed} must be positive")
        if self.topology == "ring" and self.n_nodes < 3:
            raise ValueError(f"n_nodes: a ring needs at least 3, not {self.n_nodes}")
        if self.topology == "scattered" and self.mean_degree > self.n_nodes - 1:
            raise ValueError(
                f"mean_degree: {self.mean_degree:g} neighbours each are more than {self.n_nodes} nodes have; lower it"
            )
        return self


class Arrivals(Section):
    """When tasks arrive, and at which node."""

    mode: Literal["open", "closed"]
    n_tasks: Count
    load: Annotated[float, Field(gt=0, lt=10)]
    entry: Literal["job", "task"]
    dependencies: bool
    whole_slots: bool
    sources: Count
    think_s: Positive
    duration_s: Positive
    warm_up: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _closed_loops_have_no_dependencies(self) -> Arrivals:
        if self.mode == "closed" and self.dependencies:
            raise ValueError("dependencies: a source of a closed loop submits one task at a time; set it to false")
        return self


class ReportsSection(Section):
    """What nodes hear of each other."""

    period_s: NonNegative
    delay_s: NonNegative
    loss: Annotated[Probability, Field(lt=1)]

    @model_validator(mode="after")
    def _late_reports_have_a_period(self) -> ReportsSection:
        if not self.period_s and (self.delay_s or self.loss):
            raise ValueError("period_s: late or lost reports need a period, e.g. 2; 0 means that all is known at once")
        return self


class Agents(Section):
    """The learned agents."""

    checkpoint: str
    hops: Count
    tick_s: Positive
    claims: Count
    max_hops: Annotated[int, Field(ge=0)]


class ClusterTraining(Section):
    """The evolution strategy that trains LGTC agents."""

    seed: Seed
    hidden: Count
    width: Count
    linear_generations: Annotated[int, Field(ge=0)]
    linear_step: Positive
    linear_rate: Positive
    generations: Annotated[int, Field(ge=0)]
    step: Positive
    rate: Positive
    pairs: Count
    tail_weight: NonNegative
    checkpoint_every: Count
    scenarios: Annotated[list[Overrides], Field(min_length=1)]


class Learned(Section):
    """A learned policy of a comparison.

    Attributes:
        training: key of `trainings`.
        epoch: the network after this one is taken; None for the last one.
        max_hops: how often it may hand a task over.
    """

    training: str
    epoch: Annotated[int, Field(ge=1)] | None = None
    max_hops: Count = 1


class Comparison(Section):
    """What is compared."""

    policies: Annotated[Names, Field(min_length=1)]
    learned: dict[str, Learned]
    checkpoints: str
    train_seeds: Annotated[list[Seed], Field(min_length=1)]
    seeds: Count
    first_seed: Seed
    reference: str
    gantt_s: Positive
    bootstrap_samples: Count
    suites: Names = []


class Suite(Section):
    """One setting of an evaluation.

    Attributes:
        keys: what differs from the configuration, by dotted key.
        policies: who runs; empty for `comparison.policies`.
        reported: what a source reports, by policy and figure.
    """

    keys: Overrides = {}
    policies: Names = []
    reported: dict[str, dict[str, float]] = {}


class Claim(Section):
    """Something that is said about policies, and decided by the figures of a suite.

    Attributes:
        says: the claim in words.
        suite: in which it is decided.
        policy: whose figure decides.
        figure: of a row of the table; "relative" is completion_mean_s over that of the reference, "relative_p99"
            likewise.
        than: the policy whose figure is subtracted, run by run; empty for none.
        at_most: what the figure, or the difference, must not exceed.
        at_least: what it must reach.
        reason: why it holds or does not, where that is known.
    """

    says: str
    suite: str
    policy: str
    figure: str
    than: str = ""
    at_most: float | None = None
    at_least: float | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _has_one_bound(self) -> Claim:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"claims: {self.says!r} needs either at_most or at_least")
        return self


class Evaluated(Configuration):
    """What `sortie evaluate` runs in several settings, and decides claims by.

    Attributes:
        suites: settings by name.
        claims: what is said about policies in them.
    """

    suites: dict[str, Suite] = {}
    claims: list[Claim] = []

    @model_validator(mode="after")
    def _claims_have_suites(self) -> Self:
        for claim in self.claims:
            if claim.suite not in self.suites:
                raise ValueError(f"claims: {claim.says!r} is about suite {claim.suite!r}, which there is not")
        return self


class ClusterConfig(Evaluated):
    """A cluster, the tasks that it gets, and who schedules them; see configs/cluster.yaml."""

    EXAMPLE = "configs/cluster.yaml"

    trace: Trace
    cluster: Nodes
    arrivals: Arrivals
    reports: ReportsSection
    agents: Agents
    training: ClusterTraining
    comparison: Comparison
    trainings: dict[str, Overrides] = {}

    @property
    def heard(self) -> Reports:
        """How nodes report."""
        return Reports(**self.reports.model_dump())

    def content(self) -> dict[str, Any]:
        """What a run depends on beside its policy and seed."""
        return self.model_dump(exclude={"agents", "training", "trainings", "comparison", "suites", "claims"})
