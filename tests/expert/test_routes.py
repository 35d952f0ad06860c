"""The timetable against flights, and what a plan brings against a mission written out by loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from instances import lone, main_config, midway, scarce_config

from sortie_core.action import team_command
from sortie_core.layout import sample_layout
from sortie_expert.routes import Timetable, play_out, timetable, without_idle_stops
from sortie_sim.point_world import PointWorld


def random_plan(table: Timetable, seed: int) -> np.ndarray:
    """Routes of two, one or no stops, never twice the same."""
    random = np.random.default_rng(seed)
    batch, n_agents, n_consumers = table.arrival_s.shape
    plan = np.full((batch, n_agents, 2), n_consumers)
    for b in range(batch):
        for i in range(n_agents):
            length = random.integers(3)
            plan[b, i, :length] = random.permutation(n_consumers)[:length]
    return plan


def written_out(table: Timetable, plan: np.ndarray, b: int) -> tuple[float, dict[tuple[int, int], np.ndarray]]:
    """The value of a plan, and what each stop hands over, by going through the visits in order of time."""
    visits = []
    for i, (first, second) in enumerate(plan[b]):
        if first == table.need.shape[1]:
            continue
        time_s = table.arrival_s[b, i, first]
        visits.append((time_s, i, 0, first))
        if second < table.need.shape[1]:
            time_s = time_s + table.handing_s[b, i, first] + table.reaction_s + table.leg_s[b, first, second]
            visits.append((time_s, i, 1, second))
    stock, need, value, handed = table.stock[b].copy(), table.need[b].copy(), 0.0, {}
    for time_s, i, stop, m in sorted(visits):
        if time_s >= table.left_s[b]:
            continue
        given = np.minimum(stock[i], need[m])
        need[m] -= given
        stock[i] -= given * table.consumable[b]
        worth = max(0.0, table.left_s[b] - time_s - 0.5 * table.handing_s[b, i, m]) + table.late_s
        value += given.sum() * worth
        handed[i, stop] = given
    return value, handed


@pytest.mark.parametrize("overrides", [(), ("task.n_presence=1",), ("team.kinds_per_agent=0",)])
def test_what_a_plan_brings_is_what_loops_say(overrides: tuple[str, ...]) -> None:
    config = scarce_config(*overrides)
    state = midway(sample_layout(config, range(12)), config)
    table = timetable(state, config)
    for seed in range(4):
        plan = random_plan(table, seed)
        outcome = play_out(table, plan)
        assert outcome.handed.sum() > 1
        for b in range(12):
            value, handed = written_out(table, plan, b)
            assert outcome.value[b] == pytest.approx(value, rel=1e-4, abs=1e-4)
            for visit, stop in enumerate(outcome.stop[b]):
                expected = handed.get(divmod(int(stop), 2), np.zeros(table.stock.shape[2]))
                np.testing.assert_allclose(outcome.handed[b, visit], expected, atol=1e-5)


def test_stops_at_which_nothing_is_handed_over_go_and_the_value_stays() -> None:
    config = scarce_config()
    table = timetable(midway(sample_layout(config, range(12)), config), config)
    plan = random_plan(table, 1)
    before = play_out(table, plan)
    tidy = without_idle_stops(plan, before, 5)
    after = play_out(table, tidy)
    assert (tidy < 5).sum() < (plan < 5).sum()
    assert np.all((tidy[:, :, 0] < 5) | (tidy[:, :, 1] == 5)), "what is left moves up"
    assert np.all(after.value >= before.value - 1e-3)
    assert np.array_equal(without_idle_stops(tidy, after, 5), tidy)


@pytest.mark.parametrize("speed_mps", [0.0, 1.5])
def test_a_lone_drone_arrives_when_the_timetable_says(speed_mps: float) -> None:
    config = scarce_config("team.n_agents=1", "world.backend=point")
    layout = sample_layout(config, range(60))
    random = np.random.default_rng(1)
    angle = random.uniform(0, 2 * np.pi, (60, 1))
    velocity = speed_mps * np.stack([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)
    world = PointWorld(config, "numpy")
    state = world.restart(layout.replace(velocity=velocity))
    choice = random.integers(5, size=(60, 1))
    predicted = np.take_along_axis(timetable(state, config).arrival_s, choice[:, :, None], axis=2)[:, 0, 0]
    arrived = np.full(60, np.nan)
    nobody = np.zeros((60, 1, 1), dtype=bool)
    target = np.take_along_axis(layout.consumer_position, choice[:, :, None], axis=1)
    for tick in range(config.n_steps):
        near = np.linalg.norm(state.position - target, axis=2)[:, 0] <= config.task.service_radius_m
        arrived = np.where(near & np.isnan(arrived), tick * config.world.dt_s, arrived)
        state = world.step(team_command(state, choice, nobody, None, config)).state
    reached = np.isfinite(arrived)
    assert reached.mean() > 0.9
    error_s = (arrived - predicted)[reached]
    assert abs(error_s.mean()) < 0.1
    assert np.abs(error_s).max() < 0.45


def test_each_mission_alone_and_in_torch() -> None:
    config = main_config("task.n_presence=1", "team.discharge_probability=0.3")
    state = midway(sample_layout(config, range(6)), config)
    table = timetable(state, config)
    plan = random_plan(table, 0)
    together = play_out(table, plan).value
    twin = play_out(timetable(state.map(torch.as_tensor), config), torch.as_tensor(plan)).value
    np.testing.assert_allclose(twin.numpy(), together, rtol=1e-5)
    for b in range(6):
        alone = play_out(timetable(lone(state, b), config), plan[b : b + 1]).value
        np.testing.assert_allclose(alone, together[b : b + 1], rtol=1e-5)
