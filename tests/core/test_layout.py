"""Layouts: seeded, independent of the batch, and as the configuration asks."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hand_made_missions import arrays_of, configuration

from sortie_core.config import UserError
from sortie_core.layout import sample_layout, sample_training_layout

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = configuration()
EVENTFUL = configuration(
    "team.discharge_probability=0.5", "team.failure_probability=0.3", "task.late_demand_probability=0.4"
)


@pytest.mark.parametrize("sample", [sample_layout, sample_training_layout])
def test_a_layout_depends_on_its_seed_and_not_on_its_batch(sample: Callable):
    many, pair = arrays_of(sample(EVENTFUL, range(40))), arrays_of(sample(EVENTFUL, [17, 3]))
    for name, values in pair.items():
        np.testing.assert_array_equal(values, many[name][[17, 3]], err_msg=name)
    assert not np.array_equal(many["position"][3], many["position"][17])


def closest(points: np.ndarray, real: np.ndarray):
    gaps = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    gaps[:, np.arange(points.shape[1]), np.arange(points.shape[1])] = np.inf
    return np.where(real[:, :, None] & real[:, None], gaps, np.inf).min()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_places_lie_in_the_arena_and_apart(dimensions: int):
    config = configuration(f"task.dimensions={dimensions}", "team.n_agents=30")
    state = sample_layout(config, range(100))
    assert state.position.shape == (100, 30, dimensions) and state.position.dtype == np.float32
    assert np.abs(state.position).max() <= 5 and np.abs(state.position).max() > 4.9
    assert closest(state.position, state.present) >= 2 * 0.6 - 1e-5
    assert closest(state.consumer_position, state.demand_time_s < np.inf) >= 2.5 * 0.6 - 1e-5


def test_supply_over_demand_lies_in_the_asked_range_for_every_kind():
    state = sample_layout(CONFIG, range(200))
    ratio = state.stock.sum(axis=1) / state.demand.sum(axis=1)
    assert ratio.min() >= 0.8 - 1e-5 and ratio.max() <= 1.5 + 1e-5 and np.ptp(ratio) > 0.6
    np.testing.assert_array_equal(state.unmet, state.demand)
    assert state.stock.min() >= 0.5 and state.stock.max() <= 1.0


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_drones_carry_as_many_kinds_as_asked_and_together_all(kinds: int):
    config = configuration(f"team.kinds_per_agent={kinds}", "task.n_resources=4", "team.n_agents=4")
    carried = sample_layout(config, range(200)).stock > 0
    np.testing.assert_array_equal(carried.sum(axis=2), kinds)
    assert np.all(carried.any(axis=1))
    assert len(np.unique(carried.reshape(200, -1), axis=0)) > 20


def test_a_kind_that_nobody_can_carry_is_not_demanded():
    config = configuration("team.kinds_per_agent=1", "task.n_resources=4", "team.n_agents=2")
    state = sample_layout(config, range(50))
    assert np.all((state.stock.sum(axis=1) > 0).sum(axis=1) == 2)
    np.testing.assert_array_equal(state.demand.sum(axis=1) > 0, state.stock.sum(axis=1) > 0)


def test_the_last_kinds_are_presence():
    config = configuration("task.n_presence=1", "task.n_resources=3")
    np.testing.assert_array_equal(sample_layout(config, [1]).presence, [[False, False, True]])


def test_mishaps_happen_as_often_as_asked():
    state = sample_layout(EVENTFUL, range(500))
    assert np.mean(state.failure_time_s < math.inf) == pytest.approx(0.3, abs=0.04)
    assert np.mean(state.discharge_onset_s < math.inf) == pytest.approx(0.5, abs=0.04)
    assert np.mean(state.demand_time_s > 0) == pytest.approx(0.4, abs=0.05)
    assert state.discharge_per_s.max() <= 0.02
    assert np.all((state.discharge_per_s > 0) == (state.discharge_onset_s < math.inf))
    calm = sample_layout(CONFIG, range(50))
    assert np.all(calm.demand_change_s == math.inf)
    assert np.all(calm.failure_time_s == math.inf) and np.all(calm.discharge_per_s == 0)
    assert np.all(calm.demand_time_s == 0)


def test_events_strike_a_share_at_one_moment_and_leave_the_rest_of_the_layout_alone():
    keys = ["team.sudden_loss_share=0.2", "team.sudden_loss_s=[3, 6]"]
    keys += ["task.demand_change_share=0.4", "task.demand_change_s=[5, 5]", "task.n_consumers=5"]
    struck, calm = (sample_layout(configuration(*each), range(60)) for each in (keys, keys[-1:]))
    for times, count in ((struck.failure_time_s, 2), (struck.demand_change_s, 2)):
        np.testing.assert_array_equal((times < math.inf).sum(axis=1), count)
        first = times.min(axis=1, keepdims=True)
        assert np.all((times == first) | (times == math.inf))
    loss_s = struck.failure_time_s.min(axis=1)
    assert loss_s.min() >= 2.95 and loss_s.max() <= 6 and np.ptp(loss_s) > 2
    np.testing.assert_allclose(struck.demand_change_s.min(axis=1), 4.95)
    ratio = struck.stock.sum(axis=1) / struck.new_demand.sum(axis=1)
    assert ratio.min() >= 0.8 - 1e-5 and ratio.max() <= 1.5 + 1e-5
    assert not np.array_equal(struck.new_demand, struck.demand)
    for name in arrays_of(calm).keys() - {"failure_time_s", "demand_change_s", "new_demand"}:
        np.testing.assert_array_equal(getattr(struck, name), getattr(calm, name), err_msg=name)
    small = sample_layout(configuration("team.n_agents=2", *keys), range(5))
    assert np.all((small.failure_time_s < math.inf).sum(axis=1) == 1)


def test_training_layouts_draw_every_size_and_mask_the_rest():
    state = sample_training_layout(configuration("task.n_presence=1"), range(400))
    assert state.position.shape == (400, 8, 2) and state.demand.shape == (400, 6, 4) and state.present.all()
    assert set((state.demand_time_s < math.inf).sum(axis=1)) == {3, 4, 5, 6}
    kinds = (state.demand.sum(axis=1) > 0).sum(axis=1)
    assert set(kinds) == {1, 2, 3, 4}
    assert np.all(state.demand[state.demand_time_s == math.inf] == 0)
    np.testing.assert_array_equal(np.argmax(state.presence, axis=1), kinds - 1)
    np.testing.assert_array_equal(state.presence.sum(axis=1), 1)
    assert closest(state.position, state.present) >= 2 * 0.6 - 1e-5


def test_sizes_can_be_given():
    state = sample_layout(CONFIG, [1], n_agents=4, n_consumers=2, n_resources=3)
    assert state.stock.shape == (1, 4, 3) and state.demand.shape == (1, 2, 3) and state.present.all()


def test_a_dense_team_fits_where_it_can():
    state = sample_layout(configuration("task.arena_half_m=2.0"), range(20), n_agents=7)
    assert closest(state.position, state.present) >= 2 * 0.6 - 1e-5


def test_what_does_not_fit_is_said_in_one_line():
    with pytest.raises(UserError, match=r"^task.arena_half_m: 8 drones .* 1.2 m apart .* half side 0.5 m") as error:
        sample_layout(configuration("task.arena_half_m=0.5"), [1])
    assert "\n" not in str(error.value)
    began = time.process_time()
    with pytest.raises(UserError, match=r"^task.arena_half_m: 300 drones"):
        sample_layout(configuration("team.n_agents=300"), [1])
    assert time.process_time() - began < 5, "hopeless rows are given up at their first drone without a place"
    with pytest.raises(UserError, match=r"task.supply_ratio"):
        sample_layout(configuration("task.supply_ratio=[0.0, 1.0]"), [1])
