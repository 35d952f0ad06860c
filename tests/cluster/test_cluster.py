"""Topologies: who hears whom."""

from __future__ import annotations

import numpy as np
import pytest

from sortie_cluster.cluster import Cluster, linked_by_draw, linked_by_radius, ring, scattered


def cluster(linked: np.ndarray) -> Cluster:
    n_nodes = len(linked)
    return Cluster(np.ones(n_nodes), np.ones(n_nodes), np.ones(n_nodes), linked)


@pytest.mark.parametrize("n_nodes", [3, 6, 50])
def test_on_a_ring_everybody_hears_the_next_on_both_sides(n_nodes: int) -> None:
    assert cluster(linked_by_radius(*ring(n_nodes))).neighbours == [
        tuple(sorted({(i - 1) % n_nodes, (i + 1) % n_nodes})) for i in range(n_nodes)
    ]


@pytest.mark.parametrize("seed", range(30))
def test_scattered_nodes_are_connected_and_have_the_neighbours_asked_for(seed: int) -> None:
    linked = linked_by_radius(*scattered(32, 4.0, np.random.default_rng(seed)))
    found = cluster(linked)
    assert np.isfinite(found.distance).all()
    assert linked.sum() / 32 >= 4.0 - 2 / 32
    assert (linked == linked.T).all() and not linked.diagonal().any()


def test_who_is_drawn_hears_too() -> None:
    linked = linked_by_draw(20, 3, np.random.default_rng(0))
    assert (linked == linked.T).all() and not linked.diagonal().any()
    assert linked.sum(1).min() >= 3


def test_reach_grows_by_hops_nearest_first() -> None:
    found = cluster(linked_by_radius(*ring(8)))
    assert found.within(2)[0] == (1, 7, 2, 6)
    assert len(found.within(np.inf)[0]) == 7
