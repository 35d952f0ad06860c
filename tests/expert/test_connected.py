"""Planning among the connected: as the centre where everybody hears everybody, and blind to the others elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from instances import midway, scarce_config

from sortie_core.comm_graph import adjacency
from sortie_core.layout import sample_layout
from sortie_expert.auction import auction
from sortie_expert.connected import among_connected
from sortie_expert.local_search import local_search


def test_who_is_all_connected_plans_as_the_centre() -> None:
    config = scarce_config("comm.radius_m=.inf")
    state = midway(sample_layout(config, range(8)), config)
    for rule in (local_search, auction):
        assert np.array_equal(among_connected(rule)(state, config), rule(state, config))


def test_who_hears_nobody_plans_alone() -> None:
    config = scarce_config("comm.radius_m=0.01")
    state = sample_layout(config, range(8))
    choice = among_connected(local_search)(state, config)
    for agent in range(state.stock.shape[1]):
        alone = np.arange(state.stock.shape[1]) == agent
        expected = local_search(state.replace(stock=state.stock * alone[None, :, None]), config)
        assert np.array_equal(choice[:, agent], expected[:, agent])


def test_only_what_a_connected_part_knows_counts() -> None:
    """Two groups out of each other's range, chains within: the stock of one does not change the plan of the other."""
    config = scarce_config("comm.radius_m=5.0")
    state = sample_layout(config, range(32))
    position = np.array(state.position)
    position[:, :4] = np.array([-7.0, 0.0]) + 2.4 * np.array([[0, -1.5], [0, -0.5], [0, 0.5], [0, 1.5]])
    position[:, 4:] = np.array([7.0, 0.0]) + 2.4 * np.array([[0, -1.5], [0, -0.5], [0, 0.5], [0, 1.5]])
    state = state.replace(position=position.astype(np.float32))
    linked = adjacency(state.position, state.alive, config.comm.radius_m)
    assert not linked[:, 0, 3].any()
    assert not linked[:, :4, 4:].any()
    rule = among_connected(local_search)
    before = rule(state, config)
    emptied = np.array(state.stock)
    emptied[:, 5] = 0.0
    after = rule(state.replace(stock=emptied), config)
    assert np.array_equal(after[:, :4], before[:, :4])
    assert (after[:, 4:] != before[:, 4:]).any(), "within a part, even those two links away count"
    assert np.array_equal(rule(state.map(torch.as_tensor), config).numpy(), before)
    emptied = np.array(state.stock)
    emptied[:, 3] = 0.0
    assert (rule(state.replace(stock=emptied), config)[:, 0] != before[:, 0]).any(), (
        "the ends of a chain know of each other"
    )
