"""The greedy rules by hand, under permutations, and in both array namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import main_config

from sortie_core.layout import sample_layout, sample_training_layout
from sortie_expert.greedy import nearest_need, useful_amount, value_greedy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState

    Rule = Callable[[WorldState, Config], Any]

RULES = (nearest_need, value_greedy)


def mission(positions: list, stocks: list, places: list, unmet: list, config: Config) -> WorldState:
    """One mission whose demands are as first asked."""
    n, m, r = len(positions), len(places), len(stocks[0])
    state = sample_layout(config, [0], n, m, r)
    demand = np.array([unmet], dtype=np.float32)
    return state.replace(
        position=np.array([positions], dtype=np.float32),
        stock=np.array([stocks], dtype=np.float32),
        consumer_position=np.array([places], dtype=np.float32),
        demand=demand,
        unmet=demand.copy(),
        presence=np.zeros((1, r), dtype=bool),
    )


def test_useful_amount_by_hand() -> None:
    stock = np.array([[1.0, 0.2], [0.0, 0.5]])
    unmet = np.array([[0.3, 0.4], [0.0, 0.0], [2.0, 2.0]])
    np.testing.assert_allclose(useful_amount(stock, unmet), [[0.5, 0.0, 1.2], [0.4, 0.0, 0.5]])
    each = np.stack([unmet, 2 * unmet])
    np.testing.assert_allclose(useful_amount(stock, each), [[0.5, 0.0, 1.2], [0.5, 0.0, 0.5]])


def test_choices_by_hand() -> None:
    """Consumers on a line at 1, 3 and -4 m; speed 2 m/s, so that travel times are 0.5, 1.5 and 2 s."""
    config = main_config("world.max_speed_mps=2.0")
    state = mission(
        positions=[[0, 0], [0, 0], [0, 0], [-3, 0]],
        stocks=[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.3, 0.2]],
        places=[[1, 0], [3, 0], [-4, 0]],
        unmet=[[0.1, 0.0], [0.8, 0.0], [0.9, 0.3]],
        config=config,
    )
    # The first agent: 0.1 / 1.5, 0.8 / 2.5 and 0.9 / 3. The second has only what the third consumer needs. The third
    # has nothing. The last is nearest to the third consumer: 0.1 / 3, 0.3 / 4, 0.5 / 1.5.
    assert nearest_need(state, config).tolist() == [[0, 2, 3, 2]]
    assert value_greedy(state, config).tolist() == [[1, 2, 3, 2]]


def test_speed_decides_between_much_and_near() -> None:
    slow, fast = main_config("world.max_speed_mps=0.5"), main_config("world.max_speed_mps=20")
    state = mission([[0, 0]], [[1.0]], [[1, 0], [4, 0]], [[0.4], [0.8]], slow)
    assert value_greedy(state, slow).tolist() == [[0]]
    assert value_greedy(state, fast).tolist() == [[1]]


@pytest.mark.parametrize("rule", RULES)
def test_the_dead_wait_and_nobody_goes_where_nothing_is_asked(rule: Rule) -> None:
    config = main_config()
    state = mission([[0, 0], [0, 0]], [[1.0], [1.0]], [[1, 0], [2, 0], [3, 0], [4, 0]], [[0.5]] * 4, config)
    state.failure_time_s[0, 1] = 0.0
    assert rule(state, config).tolist() == [[0, 4]]
    state.completed[0, 0] = True
    assert rule(state, config).tolist() == [[1, 4]]
    state.demand_time_s[0, 1] = 5.0
    assert rule(state, config).tolist() == [[2, 4]]
    state.unmet[0, 2] = 1e-7
    assert rule(state, config).tolist() == [[3, 4]]
    state.present[0, 0] = False
    assert rule(state, config).tolist() == [[4, 4]]


@pytest.mark.parametrize("rule", RULES)
def test_who_covers_a_presence_demand_stays_until_it_is_held(rule: Rule) -> None:
    config = main_config("task.presence_hold_s=2.0", "task.service_radius_m=0.6")
    state = mission([[0, 0]], [[1.0]], [[0.5, 0], [4, 0]], [[0.8], [0.8]], config)
    state.presence[:] = True
    state.unmet[0, 0] = 0.0
    assert rule(state, config).tolist() == [[0]], "nothing is unmet only because it is there"
    state.presence_held_s[0, 0] = 2.0
    assert rule(state, config).tolist() == [[1]]
    state.presence_held_s[0, 0] = 1.0
    state.position[0, 0, 0] = -0.5
    assert rule(state, config).tolist() == [[1]], "others cover it"
    state.position[0, 0, 0] = 0.5
    state.presence[:] = False
    assert rule(state, config).tolist() == [[1]], "a consumable that is met needs nobody"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.sampled_from(RULES))
def test_renumbering_agents_and_consumers_renumbers_choices(seed: int, n: int, m: int, r: int, rule: Rule) -> None:
    config = main_config("task.n_presence=1", "team.failure_probability=0.3", "task.late_demand_probability=0.3")
    random = np.random.default_rng(seed)
    state = sample_layout(config, [seed], n, m, r)
    state = state.replace(
        time_s=np.full(1, random.uniform(0, 20), dtype=np.float32),
        unmet=state.unmet * (random.random(state.unmet.shape) < 0.6),
        stock=state.stock * (random.random(state.stock.shape) < 0.6),
    )
    agents, consumers = random.permutation(n), random.permutation(m)
    renumbered = state.replace(
        **{
            name: getattr(state, name)[:, agents]
            for name in ("position", "velocity", "stock", "present", "failure_time_s", "delivered", "discharged")
        },
        **{
            name: getattr(state, name)[:, consumers]
            for name in ("consumer_position", "demand", "unmet", "demand_time_s", "presence_held_s", "completed")
        },
    )
    expected, choice = rule(state, config)[0], rule(renumbered, config)[0]
    back = np.append(consumers, m)
    assert np.array_equal(back[choice], expected[agents])


@pytest.mark.parametrize("rule", RULES)
def test_batch_equals_one_by_one_and_numpy_equals_torch(rule: Rule) -> None:
    config = main_config("task.n_presence=1", "team.failure_probability=0.2", "task.late_demand_probability=0.3")
    state = sample_training_layout(config, range(32))
    state.time_s[:] = np.linspace(0, 15, 32)
    choice = rule(state, config)
    none = state.consumer_position.shape[1]
    assert choice.shape == state.present.shape
    assert 0.05 < np.mean(choice[state.alive] < none)
    assert len(np.unique(choice)) == none + 1
    twin = rule(state.map(torch.as_tensor), config)
    assert isinstance(twin, torch.Tensor)
    assert np.array_equal(twin.numpy(), choice)
    for b in (0, 17, 31):
        assert np.array_equal(rule(state.map(lambda array, b=b: array[b : b + 1]), config)[0], choice[b])
