"""Who waits goes and looks: at all of the arena, apart from neighbours, and then again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hand_made_missions import assert_same, configuration, mission

from sortie_core.action import Neighbours, team_command
from sortie_core.comm_graph import adjacency
from sortie_core.dynamics import follow_velocity
from sortie_core.exploration import Exploration, _cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sortie_core.config import Config
    from sortie_core.state import WorldState

SENSED = ["task.demand_sensing=relayed", "task.arena_half_m=4.0", "task.service_radius_m=0.3"]
CORNER = [-3.9, -3.9]


def sensing(radius_m: float, *overrides: str) -> Config:
    """In an arena of 8 m, which makes 8 / radius cells a side."""
    return configuration(*SENSED, f"task.sensing_radius_m={radius_m}", *overrides)


def waiting(*position: list[float]) -> WorldState:
    far_off = [[100.0] * len(position[0])]
    return mission(list(position), [[1.0]] * len(position), far_off, [[1.0]])


def seen(state: WorldState, radius_m: float = np.inf) -> Neighbours:
    return Neighbours.seen(state, adjacency(state.position, state.alive, radius_m))


def looked(state: WorldState, config: Config, before: Exploration | None = None, hears: float = np.inf) -> Exploration:
    before = before or Exploration.beginning(state.position, config)
    return before.looked(state.position, seen(state, hears), config)


def wander(config: Config, state: WorldState, ticks: int) -> Iterator[tuple[WorldState, Exploration]]:
    """Drones that do nothing but wait, at each of their decisions."""
    exploration = None
    for tick in range(ticks):
        if tick % config.policy.decision_steps == 0:
            exploration = looked(state, config, exploration)
            yield state, exploration
        command = team_command(state, np.ones(state.present.shape, int), seen(state), None, config, exploration)
        position, velocity = follow_velocity(state.position, state.velocity, command, state.alive, config.world)
        state = state.replace(position=position, velocity=velocity)


@pytest.mark.parametrize(("radius_m", "ticks"), [(1.0, 900), (2.0, 300), (3.5, 150)])
def test_a_drone_that_waits_sees_all_of_the_arena_to_its_corners(radius_m: float, ticks: int) -> None:
    demands = np.random.default_rng(0).uniform(-4, 4, (500, 2))
    met, looks = np.zeros(len(demands), bool), []
    for state, exploration in wander(sensing(radius_m), waiting([-3.0, 1.0]), ticks):
        met |= np.linalg.norm(demands - state.position[0, 0], axis=1) <= radius_m
        looks.append(np.isfinite(exploration.nearest_m).all() and (exploration.nearest_m <= radius_m).all())
        assert exploration.unexplored.all(), "it begins again"
    assert met.all()
    assert any(looks)


def test_all_is_looked_at_before_anything_is_seen_to_its_corners() -> None:
    config = sensing(2.0)
    for _, exploration in wander(config, waiting([-3.0, 1.0]), 100):
        goal = exploration.nearest_m[(exploration.goal[0, 0] == _cells(config)[0]).all(-1)[None, None]]
        assert goal > 2.0 or (exploration.nearest_m <= 2.0).all()


def test_the_nearest_cell_that_nobody_has_looked_at_is_next() -> None:
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
    both, alone = (looked(state, config, hears=hears).nearest_m[0] <= 2.0 for hears in (np.inf, 1.0))
    assert np.array_equal(both[0], both[1])
    assert np.array_equal(both[0], alone[0] | alone[1])
    assert alone.any(axis=1).all() and not (alone[0] & alone[1]).any()


def test_when_all_has_been_seen_it_begins_again() -> None:
    """One cell of 8 m, of which 2.4 m around the centre have to be reached to see the corners."""
    config = sensing(8.0)
    exploration = looked(waiting(CORNER), config)
    assert exploration.unexplored.all()
    exploration = looked(waiting([0.5, 0.0]), config, exploration)
    assert not exploration.unexplored.any()
    assert looked(waiting(CORNER), config, exploration).unexplored.all()


def test_new_missions_begin_unexplored() -> None:
    config, state = sensing(2.0), waiting([0.0, 0.0])
    fresh = looked(state.map(lambda array: np.concatenate([array, array])), config).forgotten(np.array([True, False]))
    assert np.isinf(fresh.nearest_m[0]).all() and not fresh.unexplored[0]
    assert not np.isinf(fresh.nearest_m[1]).any() and fresh.unexplored[1]


@pytest.mark.parametrize("radius_m", [0.001, 3.0, np.inf])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_any_radius_and_dimension_makes_cells_that_can_be_explored(radius_m: float, dimensions: int) -> None:
    config = sensing(radius_m, f"task.dimensions={dimensions}")
    state = waiting([0.3] * dimensions)
    exploration = looked(state, config)
    assert exploration.nearest_m.shape[2] <= 1024
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
