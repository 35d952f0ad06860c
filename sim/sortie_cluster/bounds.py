"""What no scheduler can do better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_cluster.scenario import tasks_of

if TYPE_CHECKING:
    from sortie_cluster.config import ClusterConfig


def closed_loop_bounds(config: ClusterConfig) -> tuple[float, float]:
    """Bounds of a closed loop in which every task takes one whole core: all cores always busy.

    With M sources that think Z s on average and tasks of s s on average, C cores of mean speed v complete at most
    ``X = C v / s`` tasks a second, and no more than ``M / (Z + s / v_max)``; and by the interactive response time law
    (Denning and Buzen 1978) a task takes at least ``T = M / X - Z``.

    Args:
        config: with arrivals.mode closed and arrivals.whole_slots; one kind of node, or their means.

    Returns:
        X, tasks per hour, and T, s.
    """
    arrivals, nodes = config.arrivals, config.cluster
    mean_s = float(tasks_of(config.trace).table.duration_s.mean())
    cores = nodes.n_nodes * sum(nodes.cores) / len(nodes.cores)
    low, high = nodes.speed
    speed = (low + high) / 2
    most = min(cores * speed / mean_s, arrivals.sources / (arrivals.think_s + mean_s / high))
    return 3600.0 * most, arrivals.sources / most - arrivals.think_s
