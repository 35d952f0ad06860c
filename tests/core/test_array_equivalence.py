"""Every rule gives the same for NumPy and torch, alone and in a batch, and whatever the agents' order or memory's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hand_made_missions import assert_same, configuration, random_state

from sortie_core import reward
from sortie_core.comm_graph import adjacency, squared_distances, support
from sortie_core.delivery import conservation_error, deliver, finished, serving
from sortie_core.dynamics import follow_velocity
from sortie_core.metrics import MissionMetrics, delivered_share
from sortie_core.observation import observe
from sortie_core.state import batch_first, batch_last, stored_batch_last

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.state import WorldState

CONFIG = configuration(
    "reward.guidance=0.2", "task.service_radius_m=0.7", "task.presence_hold_s=0.2", "task.duration_s=6.0"
)
N_STEPS = 6
AGENT_AXES = (
    "position velocity stock present failure_time_s discharge_per_s discharge_onset_s delivered discharged".split()
)


def episode(state: WorldState, commands: np.ndarray, assignment: np.ndarray):
    """Every core function over a few steps, as name -> array of NumPy."""
    found = {}
    initial, metrics = state, MissionMetrics(state, CONFIG)
    for step, command in enumerate(commands):
        before = state
        position, velocity = follow_velocity(before.position, before.velocity, command, before.alive, CONFIG.world)
        state, served = deliver(before.replace(position=position, velocity=velocity), CONFIG)
        squared = squared_distances(state.position, state.present)
        linked = adjacency(state.position, state.alive, 1.0, squared)
        metrics.update(before, state, squared)
        terms = reward.reward_terms(before, state, served, squared, CONFIG, assignment)
        terminated, truncated = finished(state, CONFIG)
        arrays = vars(state) | {f"reward {name}": term for name, term in terms.items()} | metrics.result()
        arrays |= {"adjacency": linked, "support": support(linked), "squared": squared, "served": served}
        arrays |= {"alone": adjacency(state.position, state.alive, 1.0), "serving": serving(state, 0.7)}
        arrays |= {"terminated": terminated, "truncated": truncated, "error": conservation_error(initial, state)}
        arrays |= {"share": delivered_share(state)} | {f"seen {k}": v for k, v in vars(observe(state, CONFIG)).items()}
        found |= {f"{name} after step {step}": np.asarray(array) for name, array in arrays.items()}
    return found


@pytest.fixture(params=[(4, 5, 3, 2), (3, 1, 1, 1), (2, 8, 4, 4)], ids=str)
def scene(request: pytest.FixtureRequest):
    batch, n_agents, n_consumers, n_resources = request.param
    rng = np.random.default_rng(sum(request.param))
    state = random_state(rng, batch, n_agents, n_consumers, n_resources)
    commands = rng.normal(0, 1.5, (N_STEPS, batch, n_agents, 2)).astype(np.float32)
    return state, commands, rng.integers(-1, n_consumers + 1, (batch, n_agents))


def test_something_happens_in_these_missions():
    rng = np.random.default_rng(14)
    state = random_state(rng, 50)
    found = episode(state, rng.normal(0, 1, (N_STEPS, 50, 5, 2)).astype(np.float32), rng.integers(-1, 3, (50, 5)))
    last = {name.removesuffix(" after step 5"): array for name, array in found.items() if name.endswith("step 5")}
    for name in ("delivered", "discharged", "completed", "collisions", "reward collision", "reward guidance", "served"):
        assert np.any(last[name]), name
    assert any(np.any(array) for name, array in found.items() if name.startswith("reward completion"))


def test_numpy_is_torch(scene: tuple):
    state, commands, assignment = scene
    tensors = episode(state.map(torch.from_numpy), torch.from_numpy(commands), torch.from_numpy(assignment))
    assert_same(episode(state, commands, assignment), tensors, 2e-5)


def test_results_do_not_depend_on_the_order_in_memory(scene: tuple):
    state, commands, assignment = scene
    turned = [stored_batch_last(torch.from_numpy(command)) for command in commands]
    tensors = episode(
        state.map(lambda a: stored_batch_last(torch.from_numpy(a))),
        turned,
        stored_batch_last(torch.from_numpy(assignment)),
    )
    assert_same(episode(state, commands, assignment), tensors, 2e-5)


def test_batched_is_unbatched(scene: tuple):
    state, commands, assignment = scene
    together = episode(state, commands, assignment)
    for index in range(len(state.time_s)):
        one = slice(index, index + 1)
        alone = episode(state.map(lambda array, one=one: array[one]), commands[:, one], assignment[one])
        assert_same({name: array[one] for name, array in together.items()}, alone, 1e-5)


def test_permuting_agents_permutes_every_result(scene: tuple):
    state, commands, assignment = scene
    n_agents = commands.shape[2]
    order = np.random.default_rng(0).permutation(n_agents)
    permuted = state.replace(**{name: getattr(state, name)[:, order] for name in AGENT_AXES})
    straight = episode(state, commands, assignment)
    turned = episode(permuted, commands[:, :, order], assignment[:, order])
    pairwise = ("adjacency", "support", "squared", "alone")
    per_agent = (*AGENT_AXES, "reward", "served", "serving", "seen own", "seen position", "seen velocity", "seen stock")
    for name, array in straight.items():
        if name.startswith(pairwise):
            array = array[:, order][:, :, order]
        elif name.startswith(per_agent) and not name.startswith("delivered_"):
            array = array[:, order]
        np.testing.assert_allclose(turned[name], array, 1e-5, 1e-5, err_msg=name)


def test_a_padded_agent_and_a_padded_consumer_change_nothing(scene: tuple):
    state, commands, assignment = scene
    batch, n_agents, n_consumers = len(state.time_s), commands.shape[2], state.demand.shape[1]

    def widened(name: str, array: np.ndarray) -> np.ndarray:
        if name in AGENT_AXES:
            return np.concatenate([array, np.zeros_like(array[:, :1])], axis=1)
        if name in ("consumer_position", "demand", "unmet", "presence_held_s", "completed"):
            return np.concatenate([array, np.zeros_like(array[:, :1])], axis=1)
        if name == "demand_time_s":
            return np.concatenate([array, np.full((batch, 1), np.inf, np.float32)], axis=1)
        return array

    wide = state.replace(**{name: widened(name, array) for name, array in vars(state).items()})
    more = np.concatenate([commands, np.ones_like(commands[:, :, :1])], axis=2)
    # M means "none" in the narrow mission but would be the padded consumer in the wide one.
    none = np.where(assignment == n_consumers, -1, assignment)
    padded = episode(wide, more, np.concatenate([none, np.full((batch, 1), -1)], axis=1))
    for name, array in episode(state, commands, assignment).items():
        cut = padded[name][tuple(slice(0, size) for size in array.shape)]
        np.testing.assert_allclose(cut, array, 1e-5, 1e-5, err_msg=name)
    assert n_agents + 1 == padded["present after step 0"].shape[1]


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_the_batch_axis_moves_without_copying(convert: Callable):
    array = convert(np.arange(24.0).reshape(2, 3, 4))
    assert batch_last(array).shape == (3, 4, 2)
    np.testing.assert_array_equal(np.asarray(batch_first(batch_last(array))), np.asarray(array))
    stored = stored_batch_last(array)
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(array))
    assert batch_last(np.asarray(stored)).flags.c_contiguous
    assert not np.shares_memory(np.asarray(stored), np.asarray(array))
    array[0, 0, 0] = 99
    assert stored[0, 0, 0] == 0
