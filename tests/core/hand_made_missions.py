"""Missions small enough to compute by hand, and random ones for properties."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sortie_core.config import Config, load_config
from sortie_core.state import WorldState

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "delivery.yaml"


def configuration(*overrides: str) -> Config:
    return load_config(CONFIG_FILE, overrides)


def mission(agents: list, stock: list, consumers: list, demand: list, **changes: object) -> WorldState:
    """One mission, B = 1, drones at rest; arguments are nested lists without the batch axis."""
    position, centre = np.array(agents, dtype=np.float32), np.array(consumers, dtype=np.float32)
    carried, asked = np.array(stock, dtype=np.float32), np.array(demand, dtype=np.float32)
    n_agents, n_consumers, n_resources = len(position), len(centre), carried.shape[1]
    arrays = {
        "time_s": 0.0,
        "position": position,
        "velocity": np.zeros_like(position),
        "stock": carried,
        "present": np.ones(n_agents, dtype=bool),
        "failure_time_s": np.full(n_agents, math.inf),
        "discharge_per_s": np.zeros(n_agents),
        "discharge_onset_s": np.full(n_agents, math.inf),
        "consumer_position": centre,
        "demand": asked,
        "unmet": asked,
        "demand_time_s": np.zeros(n_consumers),
        "demand_change_s": np.full(n_consumers, math.inf),
        "new_demand": np.zeros_like(asked),
        "presence": np.zeros(n_resources, dtype=bool),
        "presence_held_s": np.zeros(n_consumers),
        "completed": np.zeros(n_consumers, dtype=bool),
        "delivered": np.zeros_like(carried),
        "discharged": np.zeros_like(carried),
    } | changes
    batched = {name: np.asarray(value)[None] for name, value in arrays.items()}
    return WorldState(**{k: v if v.dtype == bool else v.astype(np.float32) for k, v in batched.items()})


def random_state(
    rng: np.random.Generator,
    batch: int = 3,
    n_agents: int = 5,
    n_consumers: int = 3,
    n_resources: int = 2,
    dimensions: int = 2,
) -> WorldState:
    """Crowded missions in which everything happens: overlapping consumers, failures, discharge, presence, padding."""

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (batch, *shape)).astype(np.float32)

    def often(probability: float, *shape: int) -> np.ndarray:
        return rng.random((batch, *shape)) < probability

    present = often(0.9, n_agents)
    stock = uniform(0, 1, n_agents, n_resources) * present[:, :, None] * often(0.8, n_agents, n_resources)
    demand = uniform(0, 1, n_consumers, n_resources)
    centre = uniform(-0.6, 0.6, n_consumers, dimensions)
    return WorldState(
        time_s=uniform(0, 5),
        position=uniform(-1, 1, n_agents, dimensions),
        velocity=uniform(-2, 2, n_agents, dimensions),
        stock=stock.astype(np.float32),
        present=present,
        failure_time_s=np.where(often(0.3, n_agents), uniform(0, 6, n_agents), np.float32(math.inf)),
        discharge_per_s=uniform(0, 0.2, n_agents),
        discharge_onset_s=np.where(often(0.5, n_agents), uniform(0, 6, n_agents), np.float32(math.inf)),
        consumer_position=centre,
        demand=demand,
        unmet=demand.copy(),
        demand_time_s=np.where(often(0.3, n_consumers), uniform(0, 7, n_consumers), np.float32(0)),
        demand_change_s=np.where(often(0.3, n_consumers), uniform(0, 6, n_consumers), np.float32(math.inf)),
        new_demand=uniform(0, 1, n_consumers, n_resources),
        presence=often(0.3, n_resources),
        presence_held_s=np.zeros((batch, n_consumers), dtype=np.float32),
        completed=np.zeros((batch, n_consumers), dtype=bool),
        delivered=np.zeros_like(stock, dtype=np.float32),
        discharged=np.zeros_like(stock, dtype=np.float32),
    )


def arrays_of(state: WorldState) -> dict[str, np.ndarray]:
    return {field.name: np.asarray(getattr(state, field.name)) for field in fields(state)}


def assert_same(first: Any, second: Any, tolerance: float = 1e-6):
    """Equal states, dictionaries of arrays, sequences or arrays, NumPy or torch."""
    if isinstance(first, WorldState):
        first, second = arrays_of(first), arrays_of(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            one, other = np.asarray(first[name]), np.asarray(second[name])
            np.testing.assert_allclose(one, other, tolerance, tolerance, err_msg=name)
    elif isinstance(first, tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other, tolerance)
    else:
        np.testing.assert_allclose(np.asarray(first), np.asarray(second), tolerance, tolerance)
