"""The configuration of the multiple-task-flow experiment; configs/task_flows.yaml says what each key is for."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from sortie_cluster.config import Evaluated, Names, ReportsSection
from sortie_cluster.reports import Reports
from sortie_core.config_sections import Count, NonNegative, Positive, Probability, Section, Seed


class Network(Section):
    """Agents, what they serve, and who hears whom."""

    n_agents: Annotated[int, Field(ge=2)]
    n_neighbours: Count
    n_kinds: Count
    kinds_per_agent: Count
    fast_s: Positive
    normal_s: Positive
    fast_probability: Probability

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Network:
        if self.n_neighbours >= self.n_agents:
            raise ValueError(f"n_neighbours: {self.n_neighbours} of {self.n_agents} agents; lower it")
        if self.kinds_per_agent > self.n_kinds:
            raise ValueError(f"kinds_per_agent: {self.kinds_per_agent} of {self.n_kinds} kinds; lower it")
        if self.n_agents * self.kinds_per_agent < self.n_kinds:
            raise ValueError("n_kinds: more than all agents together can serve; lower it or raise kinds_per_agent")
        if self.fast_s > self.normal_s:
            raise ValueError(f"fast_s: {self.fast_s:g} is longer than normal_s = {self.normal_s:g}; lower it")
        return self


class FlowsSection(Section):
    """What arrives where."""

    n_flows: Count
    arrivals_per_step: Probability
    steps: Count
    max_deliveries: Count


class Learning(Section):
    """Q-learning."""

    payoff: NonNegative
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    discount: Annotated[float, Field(ge=0, le=1)]
    exploration: Probability


class FlowComparison(Section):
    """What is compared."""

    policies: Annotated[Names, Field(min_length=1)]
    topologies: Count
    first_seed: Seed
    curve_steps: Count
    bootstrap_samples: Count
    suites: Names = []


class FlowsConfig(Evaluated):
    """Flows of tasks through a network of agents; see configs/task_flows.yaml."""

    EXAMPLE = "configs/task_flows.yaml"

    network: Network
    flows: FlowsSection
    reports: ReportsSection
    learning: Learning
    comparison: FlowComparison

    @model_validator(mode="after")
    def _flows_have_agents(self) -> FlowsConfig:
        if self.flows.n_flows > self.network.n_agents:
            raise ValueError(f"flows.n_flows: {self.flows.n_flows} at {self.network.n_agents} agents; lower it")
        if self.comparison.curve_steps > self.flows.steps:
            raise ValueError(f"comparison.curve_steps: longer than flows.steps = {self.flows.steps}; lower it")
        return self

    @property
    def heard(self) -> Reports:
        """How agents report."""
        return Reports(**self.reports.model_dump())

    def content(self) -> dict[str, Any]:
        """What a run depends on beside its policy and seed."""
        data = self.model_dump(exclude={"comparison", "suites", "claims"})
        return data | {"curve_steps": self.comparison.curve_steps}
