"""The time-aware reference: never below the auction's plan, no change of mind without gain, better missions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from instances import midway, scarce_config

from sortie_core.action import team_command
from sortie_core.comm_graph import adjacency
from sortie_core.layout import sample_layout
from sortie_core.metrics import MissionMetrics
from sortie_expert import time_aware_expert as module
from sortie_expert.auction import auction
from sortie_expert.local_search import auction_plan, improve
from sortie_expert.routes import play_out, timetable
from sortie_expert.time_aware_expert import TimeAwareExpert
from sortie_sim.point_world import PointWorld

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState


@pytest.mark.parametrize("most_routes", [0, 10**6])
def test_no_plan_is_worth_less_than_those_it_starts_from(most_routes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ROUTES", most_routes)
    config = scarce_config("team.n_agents=6")
    better = 0.0
    for state in (sample_layout(config, range(4)), midway(sample_layout(config, range(4)), config)):
        expert, table = TimeAwareExpert(config), timetable(state, config)
        choice = expert.choose(state)
        value = play_out(table, expert.plan).value
        searched = play_out(table, improve(table, auction_plan(state, config))).value
        assert np.array_equal(choice, expert.plan[:, :, 0])
        assert np.all(value >= searched - 1e-3)
        better += (value - searched).sum()
    assert better > 0.1


def test_it_does_not_change_its_mind_for_nothing() -> None:
    config = scarce_config("team.n_agents=6")
    state = sample_layout(config, range(4))
    expert = TimeAwareExpert(config)
    first = expert.choose(state)
    assert np.array_equal(expert.choose(state), first)
    # As far along the way as half a second brings everybody.
    target = np.take_along_axis(state.consumer_position, np.minimum(first, 4)[:, :, None], axis=1)
    offset = np.where((first < 5)[:, :, None], target - state.position, 0)
    heading = offset / np.maximum(np.linalg.norm(offset, axis=2, keepdims=True), 1e-6)
    later = state.replace(
        position=state.position + 0.5 * heading, velocity=1.9 * heading, time_s=state.time_s + np.float32(0.5)
    )
    assert np.mean(expert.choose(later) == first) > 0.97


def flown(config: Config, state: WorldState, choose: Callable[[WorldState], np.ndarray]) -> dict[str, float]:
    """Mean figures of missions in the point world."""
    world = PointWorld(config, "numpy")
    state = world.restart(state)
    metrics = MissionMetrics(state, config)
    for tick in range(config.n_steps):
        if tick % config.policy.decision_steps == 0:
            choice = choose(state)
        linked = adjacency(state.position, state.alive, config.comm.radius_m)
        before, state = state, world.step(team_command(state, choice, linked, None, config)).state
        metrics.update(before, state)
    return {name: float(np.mean(values)) for name, values in metrics.result().items()}


def test_missions_go_better_than_by_auction() -> None:
    config = scarce_config("team.n_agents=6", "world.backend=point")
    layouts = sample_layout(config, range(12))
    central = flown(config, layouts, lambda state: auction(state, config))
    expert = flown(config, layouts, TimeAwareExpert(config).choose)
    assert expert["delivered_auc"] > central["delivered_auc"] + 0.002
    assert expert["delivered_fraction"] > central["delivered_fraction"]


def test_the_failed_wait_and_the_rest_is_planned_anew() -> None:
    config = scarce_config("team.n_agents=6")
    state = sample_layout(config, range(4))
    expert = TimeAwareExpert(config)
    first = expert.choose(state)
    assert np.any(first[:, 2] < 5)
    failed = state.replace(failure_time_s=np.where(np.arange(6) == 2, 0.0, state.failure_time_s).astype(np.float32))
    assert np.all(expert.choose(failed)[:, 2] == 5)


def test_torch_in_torch_out_and_the_same_again() -> None:
    config = scarce_config("team.n_agents=6")
    state = sample_layout(config, range(2))
    choice = TimeAwareExpert(config).choose(state.map(torch.as_tensor))
    assert isinstance(choice, torch.Tensor)
    assert np.array_equal(choice.numpy(), TimeAwareExpert(config).choose(state))
