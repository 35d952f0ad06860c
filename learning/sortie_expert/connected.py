"""What a planner can do without a centre: drones that radio connects, however indirectly, plan together.

The radio costs nothing here and has as many rounds as it takes, so that all drones of a connected part of the team know
the same and come to the same plan. This project's design: it tells what joint planning is worth on what radio brings at
the time. It is no bound, for the search is a heuristic, and who remembers what was heard before may do better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of
from scipy.sparse.csgraph import connected_components

from sortie_core.comm_graph import adjacency
from sortie_expert.problem import on_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState


def among_connected(rule: Callable[[WorldState, Config], Array]) -> Callable[[WorldState, Config], Array]:
    """The rule with each connected part of the team planning as if there were no others.

    Args:
        rule: a centralised one, from missions to consumers [B, N] int.

    Returns:
        A rule of the same kind.
    """

    def choose(state: WorldState, config: Config) -> Array:
        here = state.map(on_host)
        mission, member = _parts(adjacency(here.position, here.alive, config.comm.radius_m))
        alone = here.map(lambda values: values[mission])
        planned = rule(alone.replace(stock=alone.stock * member[:, :, None]), config)
        choice = np.zeros(here.present.shape, dtype=np.int64)
        part, agent = np.nonzero(member)
        choice[mission[part], agent] = planned[part, agent]
        return array_namespace(state.position).asarray(choice, device=device_of(state.position))

    return choose


def _parts(linked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected parts of all teams.

    Args:
        linked: [B, N, N] bool.

    Returns:
        [P] int, the mission of each; and [P, N] bool, its members.
    """
    missions, members = [], []
    for mission, links in enumerate(linked):
        count, part = connected_components(links, directed=False)
        missions += [mission] * count
        members.append(part == np.arange(count)[:, None])
    return np.array(missions), np.concatenate(members)
