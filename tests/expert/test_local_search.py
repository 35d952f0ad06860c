"""The local search against brute force, against its start, and against the plan as a whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from instances import lone, midway, padded, scarce_config

from sortie_core.layout import sample_layout
from sortie_expert.local_search import auction_plan, improve, judge_choices, local_search
from sortie_expert.routes import play_out, timetable


def every_route(n_consumers: int) -> list[tuple[int, int]]:
    stops = range(n_consumers)
    return [(m, n_consumers) for m in range(n_consumers + 1)] + list(itertools.permutations(stops, 2))


def test_most_of_what_brute_force_finds_beyond_the_auction() -> None:
    """All 13^4 plans of 4 agents and 3 consumers, on missions of which many need more than single moves."""
    config = scarce_config("team.n_agents=4", "task.n_consumers=3", "task.n_resources=2")
    state = sample_layout(config, range(12))
    table = timetable(state, config)
    routes = np.array(every_route(3))
    plans = routes[np.array(list(itertools.product(range(len(routes)), repeat=4)))]
    start = play_out(table, auction_plan(state, config)).value
    single = play_out(table, improve(table, auction_plan(state, config), rivals=0)).value
    found = play_out(table, improve(table, auction_plan(state, config))).value
    best = []
    for b in range(12):
        mission = timetable(lone(state, b), config)
        many = type(mission)(
            *(np.repeat(value, len(plans), axis=0) if isinstance(value, np.ndarray) else value
              for value in vars(mission).values())
        )  # fmt: skip
        best.append(play_out(many, plans).value.max())
    optimum = np.array(best)
    assert np.all(found <= optimum * (1 + 1e-5))
    assert (optimum - start).mean() > 1.0, "the auction leaves something to find"
    assert np.mean((optimum - found) / optimum) < 0.01
    assert found.mean() > single.mean() + 0.01, "pairs find what single moves do not"


@pytest.mark.parametrize("overrides", [(), ("team.kinds_per_agent=0",), ("task.n_presence=1",), ("team.n_agents=1",)])
def test_no_worse_than_its_start(overrides: tuple[str, ...]) -> None:
    config = scarce_config(*overrides)
    for state in (sample_layout(config, range(16)), midway(sample_layout(config, range(16)), config)):
        table = timetable(state, config)
        plan = auction_plan(state, config)
        before = play_out(table, plan).value
        few = play_out(table, improve(table, plan, rivals=0)).value
        more = play_out(table, improve(table, plan, rivals=2)).value
        assert np.all(few >= before - 1e-3)
        assert np.all(more >= few - 1e-3)


def test_who_is_sent_can_bring_something() -> None:
    config = scarce_config("team.failure_probability=0.3", "task.late_demand_probability=0.3")
    state = midway(padded(sample_layout(config, range(24)), 4), config)
    choice = local_search(state, config)
    assert np.all(choice[~state.alive] == 5)
    for b, i in np.argwhere(choice < 5):
        m = choice[b, i]
        assert state.active[b, m]
        assert np.minimum(state.stock[b, i], state.unmet[b, m]).sum() > 0
    assert (choice < 5).sum() > 24


def test_the_worth_of_a_choice_is_what_the_team_gains_by_it() -> None:
    """Exactly so where others have one stop; else others may put to use elsewhere what they are left with."""
    config = scarce_config()
    state = sample_layout(config, range(6))
    state.stock[3:] *= 0.3  # so little that one stop is enough for most
    table = timetable(state, config)
    choice, value = judge_choices(state, config)
    plan = improve(table, auction_plan(state, config))
    assert np.array_equal(choice, plan[:, :, 0])
    assert value.shape == (6, 8, 6)
    assert np.all(value[:, :, 5] == 0)
    exact = 0
    for b, i in itertools.product(range(6), range(8)):
        mission = timetable(lone(state, b), config)
        without = plan[b : b + 1].copy()
        without[0, i] = 5
        base = play_out(mission, without).value[0]
        single = np.all(np.delete(without[0], i, axis=0)[:, 1] == 5)
        for m in range(5):
            gains = []
            for second in [n for n in range(6) if n != m]:
                trial = without.copy()
                trial[0, i] = m, second
                gains.append(play_out(mission, trial).value[0] - base)
            if value[b, i, m] != 0:
                assert value[b, i, m] <= max(gains) + 2e-2
                exact += single
                if single:
                    assert value[b, i, m] == pytest.approx(max(gains), abs=2e-2)
    assert exact > 5
    # The plan is one that no agent would rather leave.
    chosen = np.take_along_axis(value, choice[:, :, None], axis=2)[:, :, 0]
    assert np.mean(value.max(axis=2) - chosen) < 0.05
    assert np.mean(value.max(axis=2)) > 1


def test_each_mission_alone_and_in_torch_and_again() -> None:
    config = scarce_config()
    state = midway(sample_layout(config, range(8)), config)
    together = local_search(state, config)
    assert np.array_equal(local_search(state, config), together)
    assert np.array_equal(local_search(state.map(torch.as_tensor), config).numpy(), together)
    for b in range(8):
        assert np.array_equal(local_search(lone(state, b), config)[0], together[b])
