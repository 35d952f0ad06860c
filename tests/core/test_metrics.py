"""The figures of a mission, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hand_made_missions import configuration, mission

from sortie_core.metrics import MissionMetrics, deliverable_share, delivered_share

if TYPE_CHECKING:
    from sortie_core.state import WorldState

CONFIG = configuration("task.duration_s=1.0", "world.collision_distance_m=0.3")


def fly(state: WorldState, metrics: MissionMetrics, **changes: object):
    """One step of 0.1 s after which some arrays (without the batch axis) are as given."""
    arrays = {name: np.asarray(value)[None] for name, value in changes.items()}
    arrays = {name: value if value.dtype == bool else value.astype(np.float32) for name, value in arrays.items()}
    after = state.replace(time_s=state.time_s + np.float32(0.1), **arrays)
    metrics.update(state, after)
    return after


def start(**changes: object):
    state = mission([[0, 0], [1, 0]], [[1], [1]], [[0, 0], [5, 5]], [[0.6], [0.4]], **changes)
    return state, MissionMetrics(state, CONFIG)


def test_delivered_share_counts_covered_presence_and_delivered_goods():
    state, _ = start(unmet=[[0.3], [0.2]])
    assert delivered_share(state)[0] == pytest.approx(0.5)
    nothing = mission([[0, 0]], [[0]], [[0, 0]], [[0]])
    assert delivered_share(nothing)[0] == 1


def test_time_average_keeps_the_last_share_of_a_mission_that_ends_early():
    state, metrics = start()
    state = fly(state, metrics, unmet=[[0.3], [0.2]])
    state = fly(state, metrics, unmet=[[0.0], [0.05]])
    state = fly(state, metrics, unmet=[[0.0], [0.0]], completed=[True, True])
    state = fly(state, metrics, unmet=[[0.6], [0.4]])
    figures = metrics.summary()
    assert figures["delivered_fraction"] == 1
    assert figures["elapsed_s"] == pytest.approx(0.3)
    assert figures["delivered_auc"] == pytest.approx((0.5 + 0.95 + 8 * 1.0) / 10, rel=1e-5)
    assert figures["time_to_90_s"] == pytest.approx(0.2)


def test_time_to_90_is_nan_if_never_reached_and_nothing_counts_after_the_mission():
    state, metrics = start()
    for _ in range(10):
        state = fly(state, metrics, unmet=[[0.3], [0.2]])
    state = fly(state, metrics, unmet=[[0.0], [0.0]], position=[[0, 0], [0, 0]])
    figures = metrics.summary()
    assert np.isnan(figures["time_to_90_s"]) and figures["delivered_auc"] == pytest.approx(0.5)
    assert figures["elapsed_s"] == pytest.approx(1.0) and figures["collisions"] == 0
    assert figures["min_separation_m"] == 1


def test_a_collision_is_an_event_of_entering_not_of_staying():
    state, metrics = start()
    for gap in (0.2, 0.1, 0.29, 0.5, 0.25, 0.31):
        state = fly(state, metrics, position=[[0, 0], [gap, 0]])
    figures = metrics.summary()
    assert figures["collisions"] == 2
    assert figures["min_separation_m"] == pytest.approx(0.1)
    assert figures["collisions_per_agent_minute"] == pytest.approx(2 / (2 * 0.6 / 60), rel=1e-5)


def test_padding_collides_with_nobody():
    state, metrics = start(present=[True, False])
    fly(state, metrics, position=[[0, 0], [0, 0]])
    figures = metrics.summary()
    assert figures["collisions"] == 0 and figures["min_separation_m"] == np.inf


def test_energy_sums_squared_accelerations_over_time():
    state, metrics = start()
    state = fly(state, metrics, velocity=[[0.3, 0.4], [0, 0]])
    state = fly(state, metrics, velocity=[[0.3, 0.4], [0, 0.1]])
    # |a| = 5 and then 1 m/s^2, each for 0.1 s.
    assert metrics.summary()["energy_proxy"] == pytest.approx(2.6, rel=1e-4)


def test_what_the_stock_can_meet_bounds_the_mission() -> None:
    both = {"stock": [[1, 1], [1, 0]], "demand": [[2, 0.5], [2, 0.5]], "agents": [[0, 0], [1, 1]]}
    consumables = mission(**both, consumers=[[3, 3], [4, 4]])
    assert deliverable_share(consumables).tolist() == pytest.approx([(2 + 1) / 5])
    presence = mission(**both, consumers=[[3, 3], [4, 4]], presence=np.array([True, False]))
    assert deliverable_share(presence).tolist() == pytest.approx([(2 + 2 + 1) / 5])
    failed = mission(**both, consumers=[[3, 3], [4, 4]], failure_time_s=np.array([np.inf, 0.0]))
    assert deliverable_share(failed).tolist() == pytest.approx([(1 + 1) / 5])
    begun = mission(**both, consumers=[[3, 3], [4, 4]], unmet=[[1.2, 0.5], [2, 0.5]])
    assert deliverable_share(begun).tolist() == pytest.approx([(0.8 + 2 + 1) / 5])


def test_the_bound_follows_a_changed_demand() -> None:
    state, metrics = start()
    assert metrics.summary()["deliverable_fraction"] == 1
    changed = fly(state, metrics, demand=[[3.6], [0.4]], unmet=[[3.0], [0.4]])
    assert metrics.summary()["deliverable_fraction"] == pytest.approx((0.6 + 2) / 4)
    fly(changed, metrics)
    assert metrics.summary()["delivered_fraction"] == pytest.approx(0.6 / 4)
