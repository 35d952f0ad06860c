"""Random problems and missions for the tests of the expert and the references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.config import Config, load_config
from sortie_core.layout import sample_layout
from sortie_expert.problem import AssignmentProblem

if TYPE_CHECKING:
    from sortie_core.state import WorldState

MAIN = Path(__file__).parents[2] / "configs" / "delivery.yaml"


def main_config(*overrides: str) -> Config:
    return load_config(MAIN, overrides)


def scarce_config(*overrides: str) -> Config:
    return load_config(MAIN.with_name("scarce.yaml"), overrides)


def lone(state: WorldState, b: int) -> WorldState:
    """One mission of a batch."""
    return state.map(lambda array: array[b : b + 1])


def midway(state: WorldState, config: Config, seed: int = 0) -> WorldState:
    """The missions as they might be in the middle: some stock and demand gone, drones on their way, some failed."""
    random = np.random.default_rng(seed)

    def some(array: np.ndarray) -> np.ndarray:
        return (array * random.choice([0.0, 0.4, 1.0], array.shape)).astype(array.dtype)

    failed = random.random(state.present.shape) < 0.1
    return state.replace(
        time_s=np.full_like(state.time_s, 0.4 * config.duration_s),
        velocity=random.uniform(-1.4, 1.4, state.velocity.shape).astype(state.velocity.dtype),
        stock=some(state.stock),
        unmet=some(state.unmet),
        failure_time_s=np.where(failed, 0.0, state.failure_time_s).astype(state.failure_time_s.dtype),
    )


def sampled(seed: int, n_agents: int, n_consumers: int, n_resources: int, *overrides: str) -> AssignmentProblem:
    """The problem that a layout of the main configuration poses at its start."""
    config = main_config(*overrides)
    return AssignmentProblem.from_state(sample_layout(config, [seed], n_agents, n_consumers, n_resources), 0, config)


def padded(state: WorldState, least: int) -> WorldState:
    """Layouts whose teams are of different sizes, from `least` agents up; the others are padding."""
    size = least + np.arange(len(state.time_s)) % (state.present.shape[1] - least + 1)
    present = np.arange(state.present.shape[1])[None] < size[:, None]
    return state.replace(present=present, stock=state.stock * present[:, :, None])


def small(seed: int) -> AssignmentProblem:
    """6 agents, 3 consumers, 2 resources; scarce or ample, some with missing kinds, a dead agent or a met demand."""
    random = np.random.default_rng(seed)
    stock = random.uniform(0.2, 1.0, (6, 2)) * (random.random((6, 2)) < random.choice([0.6, 1.0]))
    demand = random.uniform(0.3, 1.0, (3, 2))
    demand *= stock.sum(axis=0) / random.uniform(0.6, 1.5) / demand.sum(axis=0)
    need = demand * random.choice([0.5, 1.0], (3, 2))
    need[random.integers(3), random.integers(2)] *= random.choice([0.0, 1.0])
    available = np.ones(6, dtype=bool)
    available[random.integers(6)] = random.random() < 0.5
    return AssignmentProblem(
        position=random.uniform(-5, 5, (6, 2)),
        stock=stock,
        available=available,
        consumer_position=random.uniform(-5, 5, (3, 2)),
        need=need,
        demand=demand,
        distance_weight=float(random.choice([0.0, 0.1, 1.0])),
        diameter_m=10 * 2**0.5,
    )
