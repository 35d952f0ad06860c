"""Beacons: late by as many ticks as asked, lost as often as asked, and gone with a mission that begins anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_made_missions import configuration, mission

from sortie_core.action import team_command
from sortie_core.beacons import Beacons

N = 3


def states(count: int):
    state = mission([[0, 0], [1, 0], [9, 9]], [[1.0]] * 3, [[0, 0]], [[1.0]])
    for tick in range(count):
        yield state.replace(time_s=state.time_s + np.float32(0.1 * tick), position=state.position + np.float32(tick))


def links(tick: int) -> np.ndarray:
    linked = np.zeros((1, N, N), bool)
    linked[0, 0, 1] = linked[0, 1, 0] = tick % 2 == 0
    return linked


@pytest.mark.parametrize("latency", [0, 1, 3])
def test_what_is_heard_was_sent_that_many_ticks_ago(latency: int):
    beacons = Beacons(configuration(f"comm.latency_steps={latency}").comm, np.random.default_rng(0).random)
    sent = list(states(8))
    for tick, state in enumerate(sent):
        told, heard = beacons.exchange(state, links(tick))
        if tick < latency:
            assert not heard.any()
        else:
            assert told is sent[tick - latency]
            np.testing.assert_array_equal(heard, links(tick - latency))


def test_beacons_are_lost_at_the_rate_asked_for():
    linked = torch.ones(200, 6, 6, dtype=torch.bool)
    beacons = Beacons(configuration("comm.loss=0.3").comm, torch.rand)
    torch.manual_seed(0)
    (state,) = states(1)
    assert beacons.exchange(state, linked)[1].float().mean() == pytest.approx(0.7, abs=0.02)


def test_missions_that_begin_anew_hear_nothing_of_the_last():
    beacons = Beacons(configuration("comm.latency_steps=2").comm, np.random.default_rng(0).random)
    sent = list(states(4))
    both = np.ones((2, N, N), bool)
    for state in sent[:2]:
        beacons.exchange(state, both)
    beacons.forget(np.array([True, False]))
    assert [beacons.exchange(state, both)[1].any(axis=(1, 2)).tolist() for state in sent[2:]] == [[False, True]] * 2


def test_neighbours_are_taken_to_have_gone_straight_on():
    """A late beacon of a drone that flies straight steers like one that is on time."""
    config = configuration()
    now = mission([[0, 0], [0.9, 0]], [[1.0]] * 2, [[5, 0]], [[1.0]], velocity=[[0, 0], [-1, 0]], time_s=0.5)
    then = now.replace(position=now.position + np.array([[[0.1, 0], [0.3, 0]]], np.float32), time_s=now.time_s - 0.3)
    linked = ~np.eye(2, dtype=bool)[None]
    choice = np.array([[0, 1]])
    on_time = team_command(now, choice, linked, None, config)
    np.testing.assert_allclose(team_command(now, choice, linked, None, config, then)[0, 0], on_time[0, 0], atol=1e-5)
    alone = team_command(now, choice, linked & False, None, config)
    assert np.abs(alone - on_time)[0, 0].max() > 0.1
