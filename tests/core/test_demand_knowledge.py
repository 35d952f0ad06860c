"""What agents know of demands that are sensed and relayed: how far it travels, how late, and what of it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hand_made_missions import assert_same, configuration, mission, random_state

from sortie_core.demand_knowledge import DemandKnowledge
from sortie_core.observation import observe

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState

CHAIN = (np.eye(4, k=1) + np.eye(4, k=-1)).astype(bool)[None]


def relayed(*overrides: str) -> Config:
    return configuration("task.demand_sensing=relayed", "task.sensing_radius_m=1.0", *overrides)


def in_a_row(time_s: float = 0.0, unmet: float = 0.8) -> WorldState:
    """Four agents, of which the first is near the first consumer and the last near the second."""
    state = mission(
        [[0, 0], [2, 0], [4, 0], [6, 0]], [[1.0]] * 4, [[0.5, 0], [6.5, 0]], [[0.8], [0.5]], unmet=[[unmet], [0.5]]
    )
    return state.replace(time_s=state.time_s + np.float32(time_s))


def test_knowledge_travels_one_hop_a_decision():
    knowledge, reach = DemandKnowledge.nothing(in_a_row()), []
    for decision in range(4):
        knowledge = knowledge.learned(in_a_row(0.5 * decision), CHAIN, relayed())
        reach.append(knowledge.known[0, :, 0].tolist())
    assert reach == [[True, True, False, False], [True, True, True, False], [True] * 4, [True] * 4]
    seen = observe(in_a_row(), relayed(), knowledge)
    np.testing.assert_allclose(seen.need[0, :, :, 0], [[0.8, 0.5]] * 4)


@pytest.mark.parametrize(("latency", "expected"), [(1, [1, 2, 3, 4]), (4, [1, 2, 3, 4]), (5, [1, 2, 2, 3])])
def test_late_knowledge_comes_a_decision_later(latency: int, expected: list[int]):
    """What comes with the tick of a decision itself is passed on in the next one."""
    knowledge, reach = DemandKnowledge.nothing(in_a_row()), []
    for decision in range(4):
        knowledge = knowledge.learned(in_a_row(0.5 * decision), CHAIN, relayed(f"comm.latency_steps={latency}"))
        reach.append(int(knowledge.known[0, :, 0].sum()))
    assert reach == expected


def test_the_freshest_counts_and_an_old_word_changes_nothing():
    both = np.ones((1, 4, 4), bool) & ~np.eye(4, dtype=bool)
    nobody = both & False
    knowledge = DemandKnowledge.nothing(in_a_row()).learned(in_a_row(), both, relayed())
    later = knowledge.learned(in_a_row(1.0, unmet=0.2), nobody, relayed())
    np.testing.assert_allclose(later.need[0, :, 0, 0], [0.2, 0.8, 0.8, 0.8])
    told = later.learned(in_a_row(1.5, unmet=0.1).replace(position=in_a_row().position + 50), both, relayed())
    np.testing.assert_allclose(told.need[0, :, 0, 0], 0.2)
    np.testing.assert_allclose(told.sensed_s[0, :, 0], 1.0)


def test_what_is_not_known_is_not_seen_and_what_is_met_is_not_chosen():
    nobody = np.zeros((1, 4, 4), bool)
    state = in_a_row()
    seen = observe(state, relayed(), DemandKnowledge.nothing(state).learned(state, nobody, relayed()))
    np.testing.assert_array_equal(seen.consumer_mask[0], [[True, False], [False] * 2, [False] * 2, [False, True]])
    assert np.all(seen.consumer_position[~seen.consumer_mask] == 0) and np.all(seen.need[~seen.consumer_mask] == 0)
    met = state.replace(completed=np.array([[True, False]]))
    seen = observe(met, relayed(), DemandKnowledge.nothing(met).learned(met, nobody, relayed()))
    assert not seen.consumer_mask[0, 0].any()


def test_the_dead_sense_nothing_and_a_mission_that_begins_anew_knows_nothing():
    state = in_a_row().replace(failure_time_s=np.array([[0.0, np.inf, np.inf, np.inf]], np.float32))
    knowledge = DemandKnowledge.nothing(state).learned(state, CHAIN, relayed())
    assert knowledge.known[0].sum(axis=0).tolist() == [0, 2]
    late = relayed("comm.latency_steps=2")
    knowledge = DemandKnowledge.nothing(state).learned(in_a_row(), CHAIN, late).forgotten(np.array([True]))
    far = in_a_row(0.5).replace(position=in_a_row().position + 50)
    assert not knowledge.learned(far, CHAIN, late).known.any()


@pytest.mark.parametrize("latency", [0, 2, 5])
def test_numpy_and_torch_know_the_same(latency: int):
    config = relayed(f"comm.latency_steps={latency}", "task.sensing_radius_m=0.6")
    rng = np.random.default_rng(3)
    found = []
    for convert in (np.asarray, torch.as_tensor):
        rng = np.random.default_rng(3)
        state = random_state(rng).map(convert)
        knowledge = DemandKnowledge.nothing(state)
        for _ in range(4):
            step = rng.normal(0, 0.4, (3, 5, 2)).astype(np.float32)
            linked = convert(rng.random((3, 5, 5)) < 0.3)
            state = state.replace(position=state.position + convert(step), time_s=state.time_s + 0.5)
            knowledge = knowledge.learned(state, linked, config)
        found.append({"sensed_s": knowledge.sensed_s, "need": knowledge.need, "links": knowledge.links})
    assert_same(*found)
    assert 0 < np.isfinite(found[0]["sensed_s"]).mean() < 1
