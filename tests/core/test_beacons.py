"""Beacons: late by as many ticks as asked, lost as often as asked, and gone with a mission that begins anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_made_missions import configuration, mission

from sortie_core.action import team_command
from sortie_core.beacons import Beacons

N = 3
PAIRS = ~np.eye(N, dtype=bool)[None]


def states(count: int):
    """The first two drones fly straight on at 1 m/s, apart from each other; the third jumps about."""
    start = mission([[0, 0], [1, 0], [9, 9]], [[1.0]] * 3, [[0, 0]], [[1.0]], velocity=[[-1, 0], [1, 0], [0, 0]])
    jumps = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    for tick in range(count):
        position = start.position + np.float32(0.1 * tick) * start.velocity
        position[0, 2] += jumps[tick]
        yield start.replace(time_s=start.time_s + np.float32(0.1 * tick), position=position)


def links(tick: int) -> np.ndarray:
    linked = np.zeros((1, N, N), bool)
    linked[0, 0, 1] = linked[0, 1, 0] = tick % 2 == 0
    return linked


@pytest.mark.parametrize("latency", [0, 1, 3])
def test_what_is_heard_was_sent_that_many_ticks_ago(latency: int):
    beacons = Beacons(configuration(f"comm.latency_steps={latency}"), np.random.default_rng(0).random)
    sent = list(states(8))
    for tick, state in enumerate(sent):
        neighbours = beacons.exchange(state, links(tick))
        if tick < latency:
            assert not neighbours.linked.any()
            continue
        np.testing.assert_array_equal(neighbours.linked, links(tick - latency))
        place = np.broadcast_to(neighbours.position, (1, N, N, 2))
        # Who flew straight on is where it is taken to be; who jumped is where it was.
        np.testing.assert_allclose(place[0, :, :2], np.tile(state.position[0, :2], (N, 1, 1)), atol=1e-5)
        np.testing.assert_allclose(place[0, 0, 2], sent[tick - latency].position[0, 2], atol=1e-5)


@pytest.mark.parametrize("latency", [0, 2])
def test_a_lost_beacon_leaves_the_last_one_for_three_ticks(latency: int):
    """Beacons of ticks 0, 1 and 6 arrive."""
    arrives = [True, True, False, False, False, False, True, False, False]
    draws = iter(arrives)
    config = configuration("comm.loss=0.5", f"comm.latency_steps={latency}")
    beacons = Beacons(config, lambda shape: np.full(shape, 0.9 if next(draws) else 0.1))
    heard, sent = [], list(states(len(arrives)))
    for tick, state in enumerate(sent):
        neighbours = beacons.exchange(state, PAIRS)
        np.testing.assert_array_equal(neighbours.linked, PAIRS & neighbours.linked.any())
        heard.append(bool(neighbours.linked.any()))
        if heard[-1]:
            last = max(t for t in range(tick - latency + 1) if arrives[t])
            np.testing.assert_allclose(neighbours.position[0, 0, 1], state.position[0, 1], atol=1e-5)
            np.testing.assert_allclose(neighbours.position[0, 0, 2], sent[last].position[0, 2], atol=1e-5)
    expected = [True] * 5 + [False] + [True] * 3
    assert heard == [False] * latency + expected[: len(arrives) - latency]


def test_beacons_are_lost_at_the_rate_asked_for():
    torch.manual_seed(0)
    beacons = Beacons(configuration("comm.loss=0.3"), torch.rand)
    (state,) = states(1)
    linked = torch.ones(200, N, N, dtype=torch.bool)
    many = state.map(lambda array: torch.as_tensor(array).expand(200, *array.shape[1:]))
    assert beacons.exchange(many, linked).linked.float().mean() == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("loss", [0.0, 1e-9])
def test_missions_that_begin_anew_hear_nothing_of_the_last(loss: float):
    beacons = Beacons(configuration("comm.latency_steps=2", f"comm.loss={loss}"), np.random.default_rng(0).random)
    sent = [state.map(lambda array: np.concatenate([array, array])) for state in states(7)]
    both = np.concatenate([PAIRS, PAIRS])
    for state in sent[:4]:
        assert beacons.exchange(state, both).linked[0].any() == (state.time_s[0] > 0.15)
    beacons.forget(np.array([True, False]))
    found = [beacons.exchange(state, both).linked.any(axis=(1, 2)).tolist() for state in sent[4:]]
    assert found == [[False, True]] * 2 + [[True, True]]


def test_a_late_beacon_steers_as_one_on_time_where_drones_fly_straight():
    now, linked, choice = list(states(4))[3], PAIRS.copy(), np.array([[0, 1, 1]])
    linked[0, :, 2] = False
    near = [state.replace(position=state.position * np.array([0.5, 1.0], np.float32)) for state in states(4)]
    near = [state.replace(velocity=state.velocity * np.array([0.5, 1.0], np.float32)) for state in near]
    config = configuration("comm.latency_steps=3")
    beacons = Beacons(config, np.random.default_rng(0).random)
    neighbours = [beacons.exchange(state, linked) for state in near][-1]
    now = near[-1]
    on_time = team_command(now, choice, linked, None, config)
    np.testing.assert_allclose(team_command(now, choice, neighbours, None, config)[0, :2], on_time[0, :2], atol=1e-5)
    assert np.abs(team_command(now, choice, linked & False, None, config) - on_time)[0, :2].max() > 0.1
