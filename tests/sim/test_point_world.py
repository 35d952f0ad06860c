"""The batched point world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from sortie_core.config import load_config
from sortie_core.layout import sample_layout
from sortie_sim.point_world import PointWorld
from sortie_sim.world_benchmark import run

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "delivery.yaml"
EVENTFUL = load_config(
    CONFIG_FILE,
    [
        "team.failure_probability=0.3",
        "team.discharge_probability=0.5",
        "task.late_demand_probability=0.5",
        "task.demand_change_share=0.4",
        "task.demand_change_s=[1.0, 4.0]",
        "team.sudden_loss_share=0.2",
        "task.n_presence=1",
        "task.duration_s=6.0",
    ],
)


def heading(state: WorldState, config: Config):
    """Every drone straight to a consumer by its index, faster the farther it is."""
    targets = np.arange(state.position.shape[1]) % state.demand.shape[1]
    return 1.5 * (state.consumer_position[:, targets] - state.position)


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("training_layouts", [False, True])
def test_whole_missions_conserve_resources_and_stay_finite(namespace: str, training_layouts: bool):
    world = PointWorld(EVENTFUL, namespace, training_layouts=training_layouts, check=True)
    state, delivered = world.reset(range(12)), []
    for _ in range(EVENTFUL.n_steps):
        result = world.step(heading(state, EVENTFUL), None)
        state = result.state
        delivered.append(float(state.delivered.sum()))
        assert bool(np.isfinite(np.asarray(result.reward)).all())
    assert bool(result.done.all()) and delivered[-1] > delivered[0]
    assert set(result.terms) == {"demand", "own_delivery", "collision", "completion"}


def test_numpy_and_torch_worlds_fly_the_same_missions():
    worlds = [PointWorld(EVENTFUL, "numpy"), PointWorld(EVENTFUL, "torch")]
    states = [world.reset(range(5)) for world in worlds]
    for _ in range(EVENTFUL.n_steps):
        results = [world.step(heading(state, EVENTFUL), None) for world, state in zip(worlds, states, strict=True)]
        states = [result.state for result in results]
    for name, array in vars(states[0]).items():
        np.testing.assert_allclose(array, np.asarray(getattr(states[1], name)), 1e-3, 1e-3, err_msg=name)


def test_states_stay_in_the_fast_memory_order():
    world = PointWorld(EVENTFUL)
    state = world.reset(range(6))
    result = world.step(heading(state, EVENTFUL), torch.zeros(6, 8, dtype=torch.int64))
    fields = vars(result.state) | {"adjacency": result.adjacency}
    for name, tensor in fields.items():
        assert tensor.movedim(0, -1).is_contiguous(), name


def test_failed_drones_stand_still_and_are_out_of_the_graph():
    config = load_config(CONFIG_FILE, ["team.failure_probability=1.0", "task.duration_s=4.0", "comm.radius_m=.inf"])
    world = PointWorld(config, "numpy")
    state = world.reset([3])
    for _ in range(config.n_steps + 1):
        before, result = state, world.step(heading(state, config))
        state = result.state
        dead = ~before.alive[0]
        np.testing.assert_array_equal(state.position[0, dead], before.position[0, dead])
        assert not result.adjacency[0, ~state.alive[0]].any()
        assert result.adjacency[0].sum() == state.alive.sum() * (state.alive.sum() - 1)
    assert dead.all()


def test_events_happen_at_the_tick_of_their_time():
    keys = ["team.sudden_loss_share=0.25", "task.demand_change_share=0.4", "task.duration_s=8.0"]
    config = load_config(CONFIG_FILE, keys)  # both at 4 s
    world = PointWorld(config, "numpy")
    state = world.reset([3])
    asked = state.demand
    for tick in range(1, 60):
        state = world.step(np.zeros_like(state.position)).state
        assert state.alive.sum() == (8 if tick < 40 else 6)
        assert np.array_equal(state.demand, asked) == (tick < 40)


def test_the_radius_of_the_configuration_makes_the_graph():
    linked = {}
    for radius_m in (1.75, 3.5):
        world = PointWorld(load_config(CONFIG_FILE, [f"comm.radius_m={radius_m}"]), "numpy")
        state = world.reset(range(20))
        gaps = np.linalg.norm(state.position[:, :, None] - state.position[:, None], axis=-1)
        linked[radius_m] = world.graph()[1]
        np.testing.assert_array_equal(linked[radius_m], (gaps <= radius_m) & ~np.eye(8, dtype=bool))
    assert linked[1.75].sum() < linked[3.5].sum()


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
def test_only_the_masked_environments_begin_anew(namespace: str):
    world = PointWorld(EVENTFUL, namespace, check=True)
    state = world.reset(range(4))
    for _ in range(5):
        state = world.step(heading(state, EVENTFUL)).state
    mask = np.array([False, True, False, True])
    fresh = world.reset_where(mask, [11, 12])
    expected = sample_layout(EVENTFUL, [11, 12])
    for name, array in vars(fresh).items():
        np.testing.assert_array_equal(np.asarray(array)[mask], getattr(expected, name), err_msg=name)
        np.testing.assert_array_equal(np.asarray(array)[~mask], np.asarray(getattr(state, name))[~mask], err_msg=name)
    world.step(heading(fresh, EVENTFUL))  # conservation is checked against each environment's own start
    assert world.reset_where(np.zeros(4, dtype=bool), []) is world.state


def test_stepping_leaves_earlier_states_as_they_were():
    world = PointWorld(EVENTFUL, "numpy")
    first = world.reset([1, 2])
    kept = {name: array.copy() for name, array in vars(first).items()}
    for _ in range(3):
        world.step(heading(world.state, EVENTFUL))
    for name, array in kept.items():
        np.testing.assert_array_equal(getattr(first, name), array, err_msg=name)


def test_a_world_must_be_reset_first():
    with pytest.raises(RuntimeError, match="reset"):
        PointWorld(EVENTFUL).step(np.zeros((1, 8, 2)))


def test_the_benchmark_counts_what_it_did():
    threads = torch.get_num_threads()
    figures = run(0.2, n_envs=100, n_agents=6)
    assert figures["env_steps"] % 100 == 0 and figures["n_agents"] == 6
    assert figures["env_steps_per_s"] == pytest.approx(figures["env_steps"] / figures["wall_s"])
    assert figures["wall_s"] >= 0.2 and torch.get_num_threads() == threads
