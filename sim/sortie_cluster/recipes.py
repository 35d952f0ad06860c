"""What hand-made schedulers are made of, and what they are called.

A rule's name is that of its way to place a task (push), then how nodes take tasks and in which order tasks wait:

    fifo, fifo_local, round_robin, random, drf, drf_local, tetris, best_fit, jsq, jsq_neighbours, expected_completion,
    expected_completion_neighbours, work_stealing, rec, rec_blind, clairvoyant
    +steal   a node that has nothing to start takes from those it hears, what comes first in their queues
    +pull    a node with room takes what comes first in its own and their queues, even if its own is not empty
    +again   every two seconds a node thinks again about the task that waits first at it
    +sjf     the shortest predicted task comes first;  +wsjf weighted by the dominant share of what it occupies

fifo, drf, tetris and clairvoyant have one queue for all nodes, with the _local ones each node has its own: of tasks
that arrive there (fifo_local), or that are dealt out in turn (drf_local).

`rec` is the best rule known for neighbours: to the fastest node in reach that has room, else to the least
(n + 1) / speed, again at most `max_hops` times; +pull; keys of predicted duration x dominant share^0.3. It counts what
it has sent since a node's last report, `rec_blind` does not.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from sortie_core.config import UserError

AGAIN_S = 2.0
"""How often a rule with +again thinks again, s."""


@dataclass(frozen=True)
class Recipe:
    """What a rule is made of.

    Attributes:
        place: how a task is placed: stay, random, round_robin, central, jsq, expected_completion, best_fit or rec.
        scope: hops.
        take: own, steal or pull.
        order: fifo, sjf, wsjf, clairvoyant, drf or tetris.
        again: whether a node thinks again, every `AGAIN_S`, where the task belongs that waits first at it.
        counts: whether a node counts what it has sent since the last report.
    """

    place: str
    scope: float = inf
    take: str = "own"
    order: str = "fifo"
    counts: bool = True
    again: bool = False


RECIPES = {
    "fifo": Recipe("central"),
    "fifo_local": Recipe("stay", 1),
    "round_robin": Recipe("round_robin"),
    "random": Recipe("random"),
    "drf": Recipe("central", order="drf"),
    "drf_local": Recipe("round_robin", order="drf"),
    "tetris": Recipe("central", order="tetris"),
    "best_fit": Recipe("best_fit"),
    "jsq": Recipe("jsq"),
    "jsq_neighbours": Recipe("jsq", 1),
    "expected_completion": Recipe("expected_completion"),
    "expected_completion_neighbours": Recipe("expected_completion", 1),
    "work_stealing": Recipe("stay", 1, "steal"),
    "rec": Recipe("rec", 1, "pull", "wsjf"),
    "rec_blind": Recipe("rec", 1, "pull", "wsjf", counts=False),
    "clairvoyant": Recipe("central", order="clairvoyant"),
}
_ADDITIONS: dict[str, dict[str, Any]] = {
    "steal": {"take": "steal"},
    "pull": {"take": "pull"},
    "again": {"again": True},
    "sjf": {"order": "sjf"},
    "wsjf": {"order": "wsjf"},
}


def recipe(name: str) -> Recipe:
    """What a rule's name means.

    Raises:
        UserError: no such rule or addition.
    """
    base, *additions = name.split("+")
    if base not in RECIPES:
        close = difflib.get_close_matches(base, RECIPES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(RECIPES)}"
        raise UserError(f"policies: no scheduler {base!r}; {hint}")
    found = RECIPES[base]
    for addition in additions:
        if addition not in _ADDITIONS:
            raise UserError(f"policies: no addition +{addition} in {name!r}; there are +{', +'.join(_ADDITIONS)}")
        found = replace(found, **_ADDITIONS[addition])
    if found.place == "central" and (found.take != "own" or found.again):
        out = found.take if found.take != "own" else "again"
        raise UserError(f"policies: {name!r}: tasks of {base} wait in one central queue; leave +{out} out")
    return found
