"""The centralised auction: nobody is sent for what others already bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from instances import midway, scarce_config

from sortie_core.config import load_config
from sortie_core.delivery import outstanding
from sortie_core.layout import sample_layout, sample_training_layout
from sortie_expert.auction import auction
from sortie_expert.greedy import value_greedy

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml")


def test_the_second_agent_goes_where_the_first_leaves_something_to_do() -> None:
    state = sample_layout(CONFIG, [0], 2, 2, 1).replace(
        position=np.array([[[0, 0], [0, 1]]], np.float32),
        consumer_position=np.array([[[1, 0], [-4, 0]]], np.float32),
        stock=np.ones((1, 2, 1), np.float32),
        unmet=np.ones((1, 2, 1), np.float32),
    )
    assert value_greedy(state, CONFIG).tolist() == [[0, 0]], "each for itself, both go to the near one"
    assert auction(state, CONFIG).tolist() == [[0, 1]]
    served = state.replace(unmet=np.array([[[1.0], [0.0]]], np.float32))
    assert auction(served, CONFIG).tolist() == [[0, 2]], "nothing is left for the second"


def test_who_is_sent_can_bring_something_and_nobody_waits_who_could_help() -> None:
    state = sample_training_layout(CONFIG, range(40))
    choice, n_consumers = auction(state, CONFIG), state.demand.shape[1]
    assert (choice[~state.present] == n_consumers).all()
    for b in range(40):
        for i in np.flatnonzero(choice[b] < n_consumers):
            m = choice[b, i]
            assert np.isfinite(state.demand_time_s[b, m])
            assert np.minimum(state.stock[b, i], state.demand[b, m]).sum() > 0
        for m in np.flatnonzero(np.isfinite(state.demand_time_s[b])):
            idle = state.stock[b][(choice[b] == n_consumers) & state.present[b]]
            lacking = np.clip(state.demand[b, m] - state.stock[b][choice[b] == m].sum(0), 0, None)
            assert np.minimum(idle, lacking).sum(initial=0) < 1e-3, "nobody waits who could help"


def test_the_batch_is_sold_as_each_mission_alone_and_in_torch_as_in_numpy() -> None:
    state = sample_training_layout(CONFIG, range(8))
    together = auction(state, CONFIG)
    for b in range(8):
        assert np.array_equal(auction(state.map(lambda array, b=b: array[b : b + 1]), CONFIG)[0], together[b])
    assert np.array_equal(auction(state.map(torch.as_tensor), CONFIG).numpy(), together)


def test_always_the_pair_worth_the_most_is_sold_next() -> None:
    """By loops that value every pair anew after every sale, on missions in their middle."""
    config = scarce_config("team.kinds_per_agent=2")
    state = midway(sample_layout(config, range(12)), config)
    choice, sales = auction(state, config), 0
    for b in range(12):
        free, needed, sold = state.alive[b].copy(), outstanding(state, config)[b].copy(), np.full(8, 5)
        while free.any():
            gap_m = np.linalg.norm(state.position[b][:, None] - state.consumer_position[b][None], axis=2)
            useful = np.minimum(state.stock[b][:, None], needed[None]).sum(axis=2) * free[:, None]
            i, m = np.unravel_index(np.argmax(useful / (gap_m / config.world.max_speed_mps + 1.0)), useful.shape)
            if useful[i, m] <= 1e-5:
                break
            sold[i], free[i] = m, False
            needed[m] = np.maximum(needed[m] - state.stock[b, i], 0.0)
            sales += 1
        assert np.array_equal(choice[b], sold)
    assert sales > 40
