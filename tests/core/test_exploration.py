"""Who waits goes and looks: all of the arena, apart from neighbours, and again after a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hand_made_missions import assert_same, configuration, mission

from sortie_core.action import Neighbours, team_command
from sortie_core.comm_graph import adjacency
from sortie_core.dynamics import follow_velocity
from sortie_core.exploration import Exploration

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState

SENSED = ["task.demand_sensing=relayed", "task.arena_half_m=4.0", "task.service_radius_m=0.3"]


def sensing(radius_m: float, *overrides: str) -> Config:
    """In an arena of 8 m, which makes 8 / radius cells a side."""
    return configuration(*SENSED, f"task.sensing_radius_m={radius_m}", *overrides)


def waiting(*position: list[float], time_s: float = 0.0) -> WorldState:
    far_off = [[100.0] * len(position[0])]
    state = mission(list(position), [[1.0]] * len(position), far_off, [[1.0]])
    return state.replace(time_s=state.time_s + np.float32(time_s))


def seen(state: WorldState, radius_m: float = np.inf) -> Neighbours:
    return Neighbours.seen(state, adjacency(state.position, state.alive, radius_m))


def looked(state: WorldState, config: Config, before: Exploration | None = None, hears: float = np.inf) -> Exploration:
    before = before or Exploration.beginning(state.position, config)
    return before.looked(state.position, state.time_s, seen(state, hears), config)


@pytest.mark.parametrize("radius_m", [1.0, 2.0])
def test_a_drone_that_waits_sees_all_of_the_arena(radius_m: float) -> None:
    config = sensing(radius_m)
    state, exploration, consumers = waiting([-3.0, 1.0]), None, np.random.default_rng(0).uniform(-4, 4, (200, 2))
    met = np.zeros(len(consumers), bool)
    for tick in range(500):
        if tick % config.policy.decision_steps == 0:
            exploration = looked(state.replace(time_s=state.time_s * 0), config, exploration)
        command = team_command(state, np.array([[1]]), seen(state), None, config, exploration)
        position, velocity = follow_velocity(state.position, state.velocity, command, state.alive, config.world)
        state = state.replace(position=position, velocity=velocity)
        met |= np.linalg.norm(consumers - position[0, 0], axis=1) <= radius_m
    assert not exploration.unexplored.any()
    assert met.mean() > 0.9, "corners of cells may be out of sight"


def test_the_nearest_cell_that_nobody_has_seen_is_next() -> None:
    exploration = looked(waiting([-3.2, -3.0]), sensing(2.0))
    np.testing.assert_allclose(exploration.goal[0, 0], [-3, -1])
    target, going = exploration.lead(np.zeros((1, 1, 2)), np.array([[False]]))
    assert going.all() and (target == exploration.goal).all()
    assert (exploration.lead(np.zeros((1, 1, 2)), np.array([[True]]))[0] == 0).all(), "who has a consumer goes there"


def test_neighbours_explore_apart() -> None:
    """Both stand in the middle: each goes where it is nearer, and those who do not hear each other go the same way."""
    state, config = waiting([-0.2, 0.1], [0.2, 0.1]), sensing(2.0)
    goal = looked(state, config).goal[0]
    assert goal[0, 0] < 0 < goal[1, 0]
    crowd = waiting([-0.2, 0.1], [-0.6, 0.1])
    assert looked(crowd, config).goal[0, 0, 0] > 0
    deaf = looked(crowd, config, hears=0.1).goal[0]
    np.testing.assert_allclose(deaf[0], deaf[1])


def test_what_neighbours_see_is_explored_for_those_who_hear_them() -> None:
    state, config = waiting([-3.0, -3.0], [3.0, 3.0]), sensing(2.0)
    both, alone = (looked(state, config, hears=hears).looked_s > -np.inf for hears in (np.inf, 1.0))
    assert both[0].all(axis=0).sum() == both[0].any(axis=0).sum() == 2 * alone[0, 0].sum()
    assert not (alone[0, 0] & alone[0, 1]).any()


def test_after_a_while_it_begins_again() -> None:
    config = sensing(8.0)
    here, there = waiting([-3.9, -3.9], time_s=1.0), waiting([-3.9, -3.9], time_s=20.0)
    exploration = looked(here, config)
    assert not exploration.unexplored.any(), "one cell, whose centre is in sight"
    assert not looked(there, config, exploration).unexplored.any()
    away = there.replace(position=there.position * 3)
    assert looked(away, config, exploration).unexplored.all()
    assert not looked(away.replace(time_s=here.time_s + 5), config, exploration).unexplored.any()


def test_new_missions_begin_unexplored() -> None:
    config, state = sensing(2.0), waiting([0.0, 0.0])
    fresh = looked(state.map(lambda array: np.concatenate([array, array])), config).forgotten(np.array([True, False]))
    assert np.isinf(fresh.looked_s[0]).all() and not fresh.unexplored[0]
    assert not np.isinf(fresh.looked_s[1]).all() and fresh.unexplored[1]


@pytest.mark.parametrize("radius_m", [0.001, 3.0, np.inf])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_any_radius_and_dimension_makes_cells_that_can_be_explored(radius_m: float, dimensions: int) -> None:
    config = sensing(radius_m, f"task.dimensions={dimensions}")
    state = waiting([0.3] * dimensions)
    exploration = looked(state, config)
    assert exploration.looked_s.shape[2] <= 1024
    if np.isinf(radius_m):
        assert not exploration.unexplored.any()
    else:
        there = state.replace(position=exploration.goal.astype(np.float32))
        again = looked(there, config, exploration)
        assert exploration.unexplored.all() and (again.goal != exploration.goal).any()


def test_torch_explores_as_numpy_does() -> None:
    state, config = waiting([-3.0, 1.0], [2.0, 0.5], [2.5, 1.0]), sensing(1.0)
    expected = looked(state, config, hears=2.0)
    assert_same(vars(looked(state.map(torch.as_tensor), config, hears=2.0)), vars(expected))
