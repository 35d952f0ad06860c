"""The configuration's sections: every key with its type and bounds; configs/delivery.yaml says what each is for."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

INFINITE = "infinite"
"""Marks, in JSON schemas, which cannot say it, numbers that may be infinite."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
PositiveOrInf = Annotated[float, Field(gt=0, allow_inf_nan=True, json_schema_extra={INFINITE: True})]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**53)]


def _ordered(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise ValueError(f"{value} is not a range [low, high]; put the smaller number first")
    return value


def _some(value: list[float]) -> list[float]:
    if value[1] == 0:
        raise ValueError("is nothing for all; raise the larger number")
    return value


CountRange = Annotated[list[Count], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
FloatRange = Annotated[list[NonNegative], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
StartEnd = Annotated[list[NonNegative], Field(min_length=2, max_length=2)]
PositiveStartEnd = Annotated[list[Positive], Field(min_length=2, max_length=2)]


class Section(BaseModel):
    """A group of keys; unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("true and false are no values here")
        return value


class Team(Section):
    """Who delivers."""

    n_agents: Count
    kinds_per_agent: Annotated[int, Field(ge=0)]
    stock: Annotated[FloatRange, AfterValidator(_some)]
    discharge_per_s: FloatRange
    discharge_probability: Probability
    failure_probability: Probability
    sudden_loss_share: Probability
    sudden_loss_s: FloatRange


class Task(Section):
    """What is demanded, where, and for how long."""

    n_consumers: Count
    n_resources: Annotated[int, Field(ge=1, le=8)]
    n_presence: Annotated[int, Field(ge=0)]
    arena_half_m: Positive
    reference_agents: Annotated[int, Field(ge=0)]
    dimensions: Literal[2, 3]
    duration_s: Positive
    supply_ratio: FloatRange
    late_demand_probability: Probability
    demand_change_share: Probability
    demand_change_s: FloatRange
    demand_sensing: Literal["broadcast", "relayed"]
    sensing_radius_m: PositiveOrInf
    service_radius_m: Positive
    service_rate_per_s: Positive
    presence_hold_s: NonNegative

    @model_validator(mode="after")
    def _presence_fits(self) -> Task:
        if self.n_presence > self.n_resources:
            raise ValueError(f"n_presence: {self.n_presence} is more than n_resources = {self.n_resources}; lower it")
        return self


class Effects(Section):
    """Aerodynamic effects of the quadrotor worlds."""

    drag: bool
    ground_effect: bool
    downwash: bool


class World(Section):
    """Where the team moves."""

    backend: Literal["point", "pybullet", "gym-pybullet-drones"]
    dt_s: Positive
    max_speed_mps: Positive
    max_accel_mps2: Positive
    velocity_time_constant_s: Positive
    collision_distance_m: Positive
    safe_distance_m: Positive
    altitude_m: Positive
    control_hz: Count
    physics_hz: Count
    effects: Effects

    @model_validator(mode="after")
    def _rates_divide(self) -> World:
        if self.physics_hz % self.control_hz:
            raise ValueError(f"physics_hz: {self.physics_hz} is no multiple of control_hz = {self.control_hz}")
        return self

    @model_validator(mode="after")
    def _distances_ordered(self) -> World:
        if self.collision_distance_m > self.safe_distance_m:
            raise ValueError(
                f"collision_distance_m: {self.collision_distance_m} is more than safe_distance_m = "
                f"{self.safe_distance_m}; lower it"
            )
        return self


class Comm(Section):
    """The radio."""

    radius_m: PositiveOrInf
    loss: Probability
    latency_steps: Annotated[int, Field(ge=0, le=50)]
    bandwidth_bytes_per_s: PositiveOrInf
    frame_timeout_s: Positive


class Policy(Section):
    """The policy's network; the keys after `deterministic` are fixed at training time."""

    checkpoint: str
    accept_mismatch: bool
    deterministic: bool
    network: str
    cell: Literal["lgtc", "gru", "none"]
    exchanges: Annotated[int, Field(ge=0, le=4)]
    keep_decisions: Annotated[int, Field(ge=0, le=50)]
    graph_filter: bool
    cluster_mask: bool
    decision_steps: Count
    hops: Annotated[int, Field(ge=1, le=4)]
    hidden: Count
    key_dim: Count
    mlp_width: Count
    max_resources: Annotated[int, Field(ge=1, le=8)]
    temperature: PositiveStartEnd
    correction_mps: NonNegative
    integrator: Literal["exact", "fused"]
    rate_min_per_s: Positive
    rate_max_per_s: Positive
    contraction_min_per_s: NonNegative
    regularisation: NonNegative
    projection: bool

    @model_validator(mode="after")
    def _contraction_can_be_had(self) -> Policy:
        if self.projection and not 0 < self.contraction_min_per_s < self.rate_min_per_s:
            raise ValueError(
                f"projection: keeps c at contraction_min_per_s = {self.contraction_min_per_s}, which must lie between "
                f"0 and rate_min_per_s = {self.rate_min_per_s}; change it or set projection to false"
            )
        return self


class RewardWeights(Section):
    """Weights of the named reward terms."""

    demand: NonNegative
    own_delivery: NonNegative
    collision: NonNegative
    completion: NonNegative
    guidance: NonNegative


class Expert(Section):
    """The centralised assignment."""

    distance_weight: NonNegative
    time_limit_s: Positive
    bank_layouts: Count


class Train(Section):
    """Training."""

    algorithm: Literal["ippo", "mappo", "momappo", "vdn", "qmix"]
    total_steps: Count
    n_envs: Count
    decisions_per_rollout: Count
    imitation_updates: Annotated[int, Field(ge=0)]
    imitation_weight: NonNegative
    teacher: Literal["auction", "local_search"]
    taught_share: Annotated[float, Field(gt=0, le=1)]
    scenarios: Annotated[list[Overrides], Field(min_length=1)]
    curriculum_fraction: Probability
    n_consumers: CountRange
    n_resources: CountRange
    learning_rate: Positive
    gamma_per_s: Annotated[float, Field(gt=0, le=1)]
    gae_lambda: Probability
    cluster_value: bool
    clip: Positive
    entropy: StartEnd
    value_weight: NonNegative
    max_grad_norm: Positive
    target_kl: Positive
    epochs: Count
    minibatches: Count
    guidance_anneal_fraction: Probability
    checkpoint_every: Count


Overrides = dict[str, Any]
"""Dotted keys with their values, as on a command line."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _method(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*|[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise ValueError("names no method; give the name of one, or package.module:Class of your own")
    return value


def _different(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"{values} names something twice; name each once")
    return values


Unique = AfterValidator(_different)
Method = Annotated[str, AfterValidator(_method)]


class Evaluation(Section):
    """The evaluation protocol."""

    suites: dict[Name, Overrides]
    questions: dict[Name, dict[str, Any]]
    ask: Annotated[list[Name], Unique]
    n_agents: Annotated[list[Count], Unique]
    methods: Annotated[list[Method], Field(min_length=1), Unique]
    most_agents: dict[Method, Count]
    learned: dict[Name, Overrides]
    train_seeds: Annotated[list[Seed], Unique]
    checkpoints: str
    n_layouts: Count
    first_seed: Seed
    bootstrap_samples: Count
    agreement: bool

    @model_validator(mode="after")
    def _something_is_flown(self) -> Evaluation:
        if not self.suites and not self.questions:
            raise ValueError("suites: names none, and questions asks nothing; give one of them")
        return self


def _polygon(corners: list[list[float]]) -> list[list[float]]:
    if corners and len(corners) < 3:
        raise ValueError(f"{corners} is no polygon; give at least three corners, or [] for the arena with its margin")
    (x, y), *rest = corners or [[0.0, 0.0]]
    turns = [(a[0] - x) * (b[1] - y) - (a[1] - y) * (b[0] - x) for a, b in zip(rest, rest[1:], strict=False)]
    if corners and not any(turns):
        raise ValueError(f"{corners} lie on one line, which holds nothing; move one aside")
    edges = list(zip(corners, [*corners[1:], *corners[:1]], strict=True))
    if any(start == end for start, end in edges):
        raise ValueError("has the same corner twice in a row; leave one out (the last one leads back to the first)")
    for k, one in enumerate(edges):
        for other in edges[k + 2 : len(edges) - (k == 0)]:
            if _cross(*one, *other):
                raise ValueError(f"its wall {one} crosses its wall {other}; put the corners in turn")
    return corners


def _cross(a: list[float], b: list[float], c: list[float], d: list[float]) -> bool:
    """Whether the segments a-b and c-d have a point in common."""

    def side(p: list[float], q: list[float], r: list[float]) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    apart = any(max(a[k], b[k]) < min(c[k], d[k]) or max(c[k], d[k]) < min(a[k], b[k]) for k in (0, 1))
    return not apart and side(a, b, c) * side(a, b, d) <= 0 and side(c, d, a) * side(c, d, b) <= 0


class Safety(Section):
    """Limits of the safety gate, the only publisher of setpoints."""

    geofence: Annotated[list[Annotated[list[Finite], Field(min_length=2, max_length=2)]], AfterValidator(_polygon)]
    geofence_margin_m: NonNegative
    z_min_m: Finite
    z_max_m: Finite
    max_speed_mps: Positive
    max_accel_mps2: Positive
    reaction_s: NonNegative
    shield: Literal["barrier", "orca", "none"]
    separation_m: Positive
    stale_after_s: Positive
    land_after_s: Positive

    @model_validator(mode="after")
    def _altitudes_ordered(self) -> Safety:
        if self.z_min_m >= self.z_max_m:
            raise ValueError(f"z_min_m: {self.z_min_m} is not below z_max_m = {self.z_max_m}; lower it")
        return self


class Ros(Section):
    """How the graph of nodes runs."""

    agents_per_process: Count
    lockstep: bool
    real_time_factor: Positive
    command_timeout_s: Positive
    ready_timeout_s: Positive
    success_fraction: Probability
    record: bool
    view: bool
    view_port: Annotated[int, Field(ge=1, le=65534)]
    view_host: str
