"""The rules of delivery, by hand and as properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hand_made_missions import assert_same, configuration, mission, random_state
from hypothesis import given, settings
from hypothesis import strategies as st

from sortie_core.delivery import check_conservation, conservation_error, deliver, finished, serving

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState

CONFIG = configuration("task.service_rate_per_s=1.0", "task.service_radius_m=0.6", "task.presence_hold_s=0.5")


def after(state: WorldState, steps: int = 1, config: Config = CONFIG):
    for _ in range(steps):
        state, _ = deliver(state, config)
    return state


def test_a_drone_hands_over_no_more_than_the_rate_allows():
    state = after(mission([[0.5, 0]], [[1.0]], [[0, 0]], [[0.8]]))
    np.testing.assert_allclose(state.delivered[0], [[0.1]], rtol=1e-6)
    np.testing.assert_allclose(state.unmet[0], [[0.7]], rtol=1e-6)
    np.testing.assert_allclose(state.stock[0], [[0.9]], rtol=1e-6)
    assert not state.completed[0, 0]
    assert state.time_s[0] == np.float32(0.1)


def test_the_rate_holds_per_kind_and_stock_is_the_other_limit():
    state = after(mission([[0, 0]], [[1.0, 0.04]], [[0, 0]], [[0.8, 0.8]]))
    np.testing.assert_allclose(state.delivered[0], [[0.1, 0.04]], rtol=1e-6)
    assert state.stock[0, 0, 1] == 0


def test_where_offers_exceed_the_demand_each_gives_its_proportional_share():
    # Offers 0.1, 0.06 and 0 (out of reach); 0.08 is asked for.
    state = after(mission([[0, 0], [0.1, 0], [2, 0]], [[1.0], [0.06], [1.0]], [[0, 0]], [[0.08]]))
    np.testing.assert_allclose(state.delivered[0, :, 0], [0.05, 0.03, 0.0], rtol=1e-5)
    assert state.completed[0, 0] and state.unmet[0, 0, 0] < 1e-6


def test_nothing_changes_hands_outside_the_service_radius():
    state = after(mission([[0.61, 0], [0.59, 0]], [[1.0], [1.0]], [[0, 0]], [[1.0]]))
    np.testing.assert_allclose(state.delivered[0, :, 0], [0.0, 0.1], rtol=1e-6)


def test_a_drone_within_reach_of_two_consumers_hands_over_one_rate_in_all():
    state = after(mission([[0, 0]], [[1.0]], [[0.1, 0], [-0.1, 0]], [[0.04], [1.0]]))
    np.testing.assert_allclose(state.unmet[0, :, 0], [0.0, 0.94], atol=1e-6)


def test_presence_is_covered_by_stock_near_and_keeps_it():
    state = mission([[0, 0], [0.2, 0], [3, 0]], [[0.5], [0.3], [1.0]], [[0, 0]], [[1.0]], presence=[True])
    state = after(state)
    np.testing.assert_allclose(state.unmet[0], [[0.2]], rtol=1e-5)
    np.testing.assert_allclose(state.stock[0, :, 0], [0.5, 0.3, 1.0])
    assert np.all(state.delivered == 0)


def test_presence_must_be_held_without_a_break_and_is_then_met_for_good():
    near, far = np.array([[[0.0, 0.0]]], np.float32), np.array([[[3.0, 0.0]]], np.float32)
    state = after(mission([[0, 0]], [[1.0]], [[0, 0]], [[0.8]], presence=[True]), 4)
    assert not state.completed[0, 0] and state.presence_held_s[0, 0] == pytest.approx(0.4)
    state = after(state.replace(position=far))
    assert state.presence_held_s[0, 0] == 0 and state.unmet[0, 0, 0] == np.float32(0.8)
    state = after(state.replace(position=near), 4)
    assert not state.completed[0, 0]
    state = after(state)
    assert state.completed[0, 0]
    state = after(state.replace(position=far), 3)
    assert state.completed[0, 0] and state.unmet[0, 0, 0] == 0


def test_a_hold_takes_the_same_number_of_steps_whatever_rounding_does():
    for n_steps in range(1, 40):
        config = configuration(f"task.presence_hold_s={n_steps * 0.1:.1f}")
        state = after(mission([[0, 0]], [[1.0]], [[0, 0]], [[0.8]], presence=[True]), n_steps - 1, config)
        assert not state.completed[0, 0]
        assert after(state, config=config).completed[0, 0], n_steps


def test_a_consumer_with_both_kinds_completes_when_both_are_met():
    state = mission([[0, 0]], [[1.0, 1.0]], [[0, 0]], [[0.05, 0.5]], presence=[False, True])
    state = after(state, 4)
    assert state.unmet[0, 0, 0] < 1e-6 and not state.completed[0, 0]
    assert after(state).completed[0, 0]


def test_a_hold_of_no_time_still_needs_cover():
    config = configuration("task.presence_hold_s=0.0")
    state = mission([[0, 0], [3, 0]], [[1.0], [0.0]], [[0, 0], [3, 0]], [[0.5], [0.5]], presence=[True])
    np.testing.assert_array_equal(after(state, config=config).completed[0], [True, False])


def test_discharge_is_exponential_from_its_onset():
    state = mission([[3, 3]], [[0.8]], [[0, 0]], [[1.0]], discharge_per_s=[0.5], discharge_onset_s=[0.25])
    state = after(state, 2)
    assert state.stock[0, 0, 0] == np.float32(0.8)
    state = after(state, 8)
    expected = 0.8 * np.exp(-0.5 * 0.75)
    np.testing.assert_allclose(state.stock[0, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(state.discharged[0, 0, 0], 0.8 - expected, rtol=1e-5)


def test_a_failed_drone_delivers_nothing_covers_nothing_and_keeps_what_it_has():
    fails = {"failure_time_s": [0.15, np.inf], "discharge_per_s": [0.5, 0.0], "discharge_onset_s": [1.0, np.inf]}
    state = mission([[0, 0], [3, 0]], [[1.0, 1.0], [1.0, 1.0]], [[0, 0]], [[1.0, 1.0]], presence=[False, True], **fails)
    state = after(state, 2)
    np.testing.assert_allclose(state.delivered[0, 0, 0], 0.2, rtol=1e-5)
    later = after(state, 20)
    np.testing.assert_array_equal(later.delivered, state.delivered)
    np.testing.assert_array_equal(later.stock, state.stock)
    assert later.unmet[0, 0, 1] == 1.0


def test_a_late_demand_is_not_served_before_it_appears():
    state = after(mission([[0, 0]], [[1.0]], [[0, 0]], [[1.0]], demand_time_s=[0.25]), 3)
    assert state.delivered[0, 0, 0] == 0
    assert after(state).delivered[0, 0, 0] == np.float32(0.1)


CHANGING = configuration("task.demand_change_share=0.5", "task.presence_hold_s=0.5")


def test_a_changed_demand_keeps_what_was_received_and_opens_the_consumer_again():
    state = mission(
        [[0, 0], [3, 0]],
        [[1.0], [1.0]],
        [[0, 0], [3, 0]],
        [[0.15], [0.5]],
        demand_change_s=[0.25, np.inf],
        new_demand=[[0.3], [9.0]],
    )
    before = after(state, 2, CHANGING)
    assert before.completed[0].tolist() == [True, False]
    assert finished(before.replace(completed=before.completed | True), CHANGING) == (False, False)
    changed = after(before, config=CHANGING)
    np.testing.assert_allclose(changed.demand[0, :, 0], [0.15 + 0.3, 0.5], rtol=1e-5)
    np.testing.assert_allclose(changed.unmet[0, :, 0], [0.3, 0.2], rtol=1e-5)
    assert changed.completed[0].tolist() == [False, False]
    assert conservation_error(state, changed)[0] < 1e-6
    done = after(changed, 3, CHANGING)
    assert done.completed[0].all() and finished(done, CHANGING) == (True, False)
    np.testing.assert_allclose(done.delivered[0, :, 0], [0.45, 0.5], rtol=1e-5)


def test_a_changed_demand_for_presence_must_be_held_anew():
    state = mission([[0, 0]], [[1.0]], [[0, 0]], [[0.5]], presence=[True], demand_change_s=[0.75], new_demand=[[0.8]])
    assert after(state, 6, CHANGING).completed[0, 0]
    changed = after(state, 8, CHANGING)
    np.testing.assert_allclose((changed.demand, changed.unmet), 0.8)
    assert not after(changed, 4, CHANGING).completed[0, 0]
    held = after(changed, 5, CHANGING)
    assert held.completed[0, 0] and held.stock[0, 0, 0] == 1


def test_missions_end_by_completion_or_by_time_and_padding_does_not_count():
    config = configuration("task.duration_s=1.0")
    state = mission([[0, 0]], [[1.0]], [[0, 0], [0, 0]], [[0.15], [0.0]], demand_time_s=[0.0, np.inf])
    assert finished(after(state), config) == (False, False)
    assert finished(after(state, 2), config) == (True, False)
    lazy = state.replace(position=state.position + 3)
    assert finished(after(lazy, 9), config) == (False, False)
    assert finished(after(lazy, 10), config) == (False, True)


def test_serving_needs_life_reach_and_a_demand_that_has_appeared():
    state = mission(
        [[0, 0], [0, 0], [3, 0]],
        [[1.0]] * 3,
        [[0, 0], [3, 0]],
        [[1.0]] * 2,
        failure_time_s=[np.inf, 0.0, np.inf],
        demand_time_s=[0.0, 1.0],
    )
    np.testing.assert_array_equal(serving(state, 0.6)[0], [[True, False], [False, False], [False, False]])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), n_agents=st.integers(1, 7), n_consumers=st.integers(1, 4), kinds=st.integers(1, 4)
)
def test_resources_are_conserved_and_never_negative(seed: int, n_agents: int, n_consumers: int, kinds: int):
    rng = np.random.default_rng(seed)
    state = initial = random_state(rng, 2, n_agents, n_consumers, kinds)
    for _ in range(15):
        state = state.replace(position=(state.position + rng.normal(0, 0.2, state.position.shape)).astype(np.float32))
        state, _ = deliver(state, CHANGING)
        assert np.all(conservation_error(initial, state) < 1e-5)
        assert np.all(state.stock >= -1e-6) and np.all(state.unmet >= 0)
        assert np.all(state.delivered >= -1e-6) and np.all(state.discharged >= 0)
    due = initial.demand_change_s <= state.time_s[:, None]
    assert_same(state.demand[~due], initial.demand[~due], 0)
    assert np.all(state.demand_change_s[due] == np.inf)


@pytest.mark.parametrize("field", ["stock", "delivered", "discharged", "unmet"])
def test_the_check_notices_resources_that_appear(field: str):
    initial = mission([[0, 0]], [[1.0]], [[0, 0]], [[1.0]])
    state = after(initial, 3)
    check_conservation(initial, state)
    with pytest.raises(ArithmeticError, match="not conserved in environment 0"):
        check_conservation(initial, state.replace(**{field: getattr(state, field) + np.float32(0.01)}))


def test_the_rounding_of_large_teams_is_no_fault():
    """What a thousand drones bring to one consumer adds up to more than float32 resolves to 1e-4."""
    rng = np.random.default_rng(1)
    stock = rng.uniform(0.5, 1.0, (1000, 1))
    initial = state = mission(rng.uniform(-0.3, 0.3, (1000, 2)).tolist(), stock, [[0, 0]], [[900.0]])
    config = configuration("task.service_rate_per_s=0.2")
    for _ in range(50):
        state, _ = deliver(state, config)
        check_conservation(initial, state)
    assert np.abs(state.delivered.sum() - stock.sum()) < 0.1 and state.unmet[0, 0, 0] > 100


def test_the_check_notices_what_is_not_a_number():
    initial = mission([[0, 0]], [[1.0]], [[0, 0]], [[1.0]])
    with pytest.raises(ArithmeticError):
        check_conservation(initial, initial.replace(stock=initial.stock * np.float32(np.nan)))
