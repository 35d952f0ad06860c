"""The flat observation: what it says, against plain loops over drones, and that it never leaves its bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sortie_core.config import Config, load_config
from sortie_core.delivery import outstanding
from sortie_core.observation import LENGTH_SCALE_M, TIME_SCALE_S
from sortie_sim.flat_observation import flat_bound, flat_observation, flat_parts, flat_size
from sortie_sim.learner_world import LearnerWorld

CONFIGS = Path(__file__).parents[2] / "configs"
EVENTFUL = [
    "team.failure_probability=0.4",
    "team.discharge_probability=0.5",
    "task.late_demand_probability=0.5",
    "task.n_presence=1",
    "task.duration_s=4.0",
]
SCARCE = load_config(CONFIGS / "scarce.yaml", EVENTFUL)
IN_SPACE = load_config(CONFIGS / "delivery.yaml", [*EVENTFUL, "task.dimensions=3", "team.n_agents=5"])
ALONE = load_config(CONFIGS / "delivery.yaml", [*EVENTFUL, "team.n_agents=1"])


def flown(config: Config, ticks: int, namespace: str = "numpy") -> LearnerWorld:
    """Three missions after some ticks of random commands."""
    world = LearnerWorld(config, 3, "velocity", namespace)
    world.reset(seeds=[4, 5, 6])
    random = np.random.default_rng(0)
    for _ in range(ticks):
        command = random.uniform(-1, 1, world.state.position.shape).astype(np.float32)
        world.step(command if namespace == "numpy" else torch.from_numpy(command))
    return world


def told(world: LearnerWorld, mission: int, drone: int) -> np.ndarray:
    """The observation of one drone, told by its docstring."""
    state, config = world.state, world.config
    linked, need = world.point.graph()[1], outstanding(state, config)
    most, speed = config.policy.max_resources, config.world.max_speed_mps

    def padded(amount: np.ndarray) -> list[float]:
        return [*amount, *[0.0] * (most - len(amount))]

    place, motion, stock = (array[mission] for array in (state.position, state.velocity, state.stock))
    stock = stock * state.alive[mission][:, None]
    left_s = config.duration_s - state.time_s[mission]
    values = [*place[drone] / config.arena_half_m, *motion[drone] / speed, *padded(stock[drone])]
    values.append(left_s / TIME_SCALE_S)
    for m, centre in enumerate(state.consumer_position[mission]):
        away = (centre - place[drone]) / LENGTH_SCALE_M
        open_ = state.time_s[mission] >= state.demand_time_s[mission, m] and not state.completed[mission, m]
        values += [*away, np.linalg.norm(away)]
        values += padded(np.minimum(stock[drone], need[mission, m])) + padded(need[mission, m])
        values += [*padded(state.presence[mission].astype(float)), float(open_)]
    for j in range(len(place)):
        if j == drone:
            continue
        near = linked[mission, drone, j]
        about = [*(place[j] - place[drone]) / LENGTH_SCALE_M, *(motion[j] - motion[drone]) / speed]
        values += [float(near) * value for value in [*about, *padded(stock[j]), 1.0]]
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize("config", [SCARCE, IN_SPACE, ALONE], ids=["scarce", "3-D", "one drone"])
def test_every_drone_is_told_what_the_docstring_says(config: Config):
    world = flown(config, ticks=25)
    flat = world.observe()
    assert flat.dtype == np.float32 and flat.shape == (3, config.team.n_agents, flat_size(config))
    for mission in range(3):
        for drone in range(config.team.n_agents):
            np.testing.assert_allclose(flat[mission, drone], told(world, mission, drone), atol=1e-5)


def test_numpy_and_torch_worlds_tell_the_same():
    arrays, tensors = flown(SCARCE, 25), flown(SCARCE, 25, "torch")
    np.testing.assert_allclose(arrays.observe(), tensors.observe().numpy(), atol=1e-4)


def test_parts_are_the_flat_observation_cut_apart():
    world = flown(SCARCE, ticks=10)
    flat = world.observe()
    own, consumers, others = flat_parts(flat, SCARCE)
    assert consumers.shape[:3] == (3, 8, SCARCE.task.n_consumers) and others.shape[:3] == (3, 8, 7)
    joined = [own, consumers.reshape(3, 8, -1), others.reshape(3, 8, -1)]
    np.testing.assert_array_equal(np.concatenate(joined, axis=-1), flat)
    np.testing.assert_array_equal(others[..., -1].sum(-1), world.point.graph()[1].sum(-1))  # 1 where in radio range


@pytest.mark.parametrize("config", [SCARCE, IN_SPACE], ids=["scarce", "3-D"])
def test_no_flight_leaves_the_bounds(config: Config):
    bound = flat_bound(config)
    assert bound.shape == (flat_size(config),) and np.isfinite(bound).all()
    world = LearnerWorld(config, 20)
    world.reset(seeds=range(20))
    # Away from the middle, as fast as can be, is as far as anyone gets.
    outward = np.sign(world.state.position)
    reached = np.zeros_like(bound)
    for _ in range(config.n_steps):
        world.step(outward)
        reached = np.maximum(reached, np.abs(world.observe()).max(axis=(0, 1)))
    assert (reached <= bound).all()


def test_the_state_is_left_as_it_was():
    world = flown(SCARCE, ticks=5)
    before = {name: array.copy() for name, array in vars(world.state).items()}
    flat_observation(world.state, world.point.graph()[1], SCARCE)[...] = 0
    for name, array in vars(world.state).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
