"""The validator finds whatever is wrong with a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hand_made_clusters import line, run, workload

from sortie_cluster.rules import rule
from sortie_cluster.schedule import Move
from sortie_cluster.scheduler import Scheduler
from sortie_cluster.validator import InfeasibleScheduleError, validate, violations

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_cluster.schedule import Schedule

NEVER = float("nan")


def feasible() -> Schedule:
    tasks = workload([4.0, 2.0, 3.0], parents=((), (), (0,)))
    return run(line(1.0, 1.0, 1.0), tasks, rule("work_stealing"))


def at_once(log: Schedule) -> None:
    log.begin_s[1], log.end_s_of[1], log.node[1] = 0.0, 2.0, 0
    log.moves.clear()


def too_early(log: Schedule) -> None:
    log.begin_s[2], log.end_s_of[2] = 3.0, 6.0
    log.ready_s[2], log.node[2] = 3.0, 2


def too_short(log: Schedule) -> None:
    log.end_s_of[0] -= 1.0


def before_ready(log: Schedule) -> None:
    log.ready_s[1] = 1.0


def lost(log: Schedule) -> None:
    log.end_s_of[1] = NEVER


def out_of_nothing(log: Schedule) -> None:
    log.begin_s[1] = NEVER


def dropped_and_run(log: Schedule) -> None:
    log.dropped[1] = True


def too_far(log: Schedule) -> None:
    log.moves[0] = Move(1, 0, 2, 0.0, True)


def from_elsewhere(log: Schedule) -> None:
    log.moves[0] = Move(1, 2, 1, 0.0, True)


def elsewhere(log: Schedule) -> None:
    log.moves.clear()


def too_often(log: Schedule) -> None:
    there_and_back = [Move(0, 0, 1, 0.0, False), Move(0, 1, 0, 0.0, False)]
    log.moves[:0] = there_and_back * 5


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (at_once, "gives 2 of its 1 CPU away"),
        (too_early, "task 2 began before task 0"),
        (too_short, "task 0 did not run for as long"),
        (before_ready, "task 1 began before it was ready"),
        (lost, "task 1 began and got lost"),
        (out_of_nothing, "task 1 ended but never began"),
        (dropped_and_run, "task 1 was dropped and ran"),
        (too_far, "2 hops apart"),
        (from_elsewhere, "task 1 left node 2 but was at node 0"),
        (elsewhere, "task 1 ran where it was not"),
        (too_often, "handed over too often"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[Schedule], None], words: str) -> None:
    log = feasible()
    assert list(violations(log, 1)) == []
    spoil(log)
    with pytest.raises(InfeasibleScheduleError, match=words):
        validate(log, 1)


def test_runs_that_a_failure_cut_short_count_for_capacity() -> None:
    log = run(line(1.0), workload([10.0]), Scheduler(), failures=((0, 4.0, 6.0),))
    log.lost.append(log.lost[0])
    with pytest.raises(InfeasibleScheduleError, match="gives 2 of its 1 CPU"):
        validate(log)
