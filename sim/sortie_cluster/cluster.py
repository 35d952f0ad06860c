"""The nodes of a cluster and who hears whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.comm_graph import adjacency

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SPARE = 1.0 + 1e-6
"""A radius is a little longer than what it just reaches, lest rounding cuts the link."""


@dataclass(frozen=True)
class Cluster:
    """N nodes.

    Attributes:
        cpu: [N] cores.
        memory: [N] percent of a trace machine's memory.
        speed: [N] work done per second.
        linked: [N, N] bool, who hears whom; symmetric, no node hears itself.
        service_s: [N, kinds] what a task of each kind takes, s, infinite where a node cannot serve it; empty where
            a task takes its `work_s` over the node's speed.
        hop_s: what handing a task to a neighbour takes, s.
        position: [N, 2] m, where nodes stand for the radius that links them.
    """

    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    speed: NDArray[np.float64]
    linked: NDArray[np.bool_]
    service_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    hop_s: float = 0.0
    position: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    def __len__(self) -> int:
        """N."""
        return len(self.cpu)

    @cached_property
    def neighbours(self) -> list[tuple[int, ...]]:
        """For each node those it hears."""
        return self.within(1)

    @cached_property
    def distance(self) -> NDArray[np.float64]:
        """[N, N] radio hops between nodes; infinite where there is no path."""
        from scipy.sparse.csgraph import shortest_path

        return shortest_path(self.linked, unweighted=True)

    def within(self, hops: float) -> list[tuple[int, ...]]:
        """For each node the others that are at most so many hops away, nearest first."""
        return [tuple(int(j) for j in np.argsort(row, kind="stable") if 0 < row[j] <= hops) for row in self.distance]


def ring(n_nodes: int) -> tuple[NDArray[np.float64], float]:
    """Places [N, 2] m on a circle one metre apart, and the radius, m, that links each with the next on both sides."""
    angle = 2 * np.pi * np.arange(n_nodes) / n_nodes
    place = np.stack([np.cos(angle), np.sin(angle)], -1) / (2 * np.sin(np.pi / n_nodes))
    return place, 1.1


def scattered(n_nodes: int, mean_degree: float, random: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """Places uniform in a square of one square metre per node, and a radius that links them.

    Args:
        n_nodes: N.
        mean_degree: how many neighbours nodes have on average, at least; more where fewer leave the graph in parts.
        random: draws the places.

    Returns:
        [N, 2] m, and the radius, m.
    """
    from scipy.sparse.csgraph import connected_components

    place = random.uniform(0.0, np.sqrt(n_nodes), (n_nodes, 2))
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1)
    lengths = np.sort(apart[np.triu_indices(n_nodes, 1)])
    first = min(len(lengths) - 1, round(mean_degree * n_nodes / 2) - 1)
    for radius in lengths[first:]:
        if connected_components(apart <= radius)[0] == 1:
            return place, float(radius) * _SPARE
    raise AssertionError("the longest distance links all nodes")


def linked_by_radius(position: NDArray[np.float64], radius_m: float) -> NDArray[np.bool_]:
    """[N, N] who hears whom: those within a radius, as for drones (`sortie_core.comm_graph`)."""
    return np.asarray(adjacency(position[None], np.ones((1, len(position)), bool), radius_m)[0])


def linked_by_draw(n_nodes: int, n_neighbours: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """[N, N] each draws so many others; who is drawn hears, too."""
    linked = np.zeros((n_nodes, n_nodes), bool)
    for i in range(n_nodes):
        others = np.delete(np.arange(n_nodes), i)
        linked[i, random.choice(others, n_neighbours, replace=False)] = True
    return linked | linked.T
