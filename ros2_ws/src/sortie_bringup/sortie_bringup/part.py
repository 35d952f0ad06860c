"""Which of a mission's processes run on this machine, where several machines share them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sortie_core.config import UserError

WORLD = "world"


@dataclass(frozen=True)
class Part:
    """Some of a mission's processes.

    Attributes:
        world: all but the agents.
        drones: whose agents, in order.
    """

    world: bool
    drones: tuple[int, ...]


def part_of(only: str, n_agents: int) -> Part:
    """The part that a text names.

    Args:
        only: ``world``, or drones such as ``0-3`` or ``0,4-7``; empty for all processes.
        n_agents: of the team.

    Raises:
        UserError: it is none of these, or the team has no such drones.
    """
    if not only or only == WORLD:
        return Part(True, () if only else tuple(range(n_agents)))
    drones: set[int] = set()
    for each in only.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", each.strip())
        named = range(int(ends[1]), int(ends[2] or ends[1]) + 1) if ends else range(0)
        if not named:
            raise UserError(f"only: {only!r} is neither world nor drones; write 0-3 or 0,4-7 for some of them")
        if named[-1] >= n_agents:
            raise UserError(f"only: {only!r} names drones that a team of {n_agents} lacks; it has 0-{n_agents - 1}")
        drones.update(named)
    return Part(False, tuple(sorted(drones)))
