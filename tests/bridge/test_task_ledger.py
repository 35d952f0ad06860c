"""The ledger gives no task twice and loses none, whatever agents claim and workers do."""

from __future__ import annotations

import numpy as np
import pytest

from sortie_bridge.backends import Finished, Lost, NodeBack, NodeGone
from sortie_bridge.task_ledger import TaskLedger, as_measured
from sortie_cluster.cluster import Cluster, linked_by_radius, ring
from sortie_cluster.validator import validate
from sortie_cluster.workload import Workload
from sortie_core.packets import HandOver


def make(n_tasks: int = 4, parents: tuple[tuple[int, ...], ...] = (), entry: int = 0) -> TaskLedger:
    """Five nodes on a ring, one core each; tasks of half a core arrive at a node, one a second."""
    place, radius_m = ring(5)
    cluster = Cluster(
        np.ones(5), np.full(5, 2.0), np.ones(5), linked_by_radius(place, radius_m), position=place, hop_s=0.0
    )
    numbers = np.arange(n_tasks)
    whole = np.ones(n_tasks)
    workload = Workload(
        numbers.astype(float), 10 * whole, 0.5 * whole, 0.5 * whole, np.full(n_tasks, entry), 8 * whole, numbers,
        0 * numbers, parents,
    )  # fmt: skip
    return TaskLedger(cluster, workload, max_hops=1)


def keep(ledger: TaskLedger, node: int, *tasks: int) -> None:
    ledger.place(node, [HandOver(task, node, float(task)) for task in tasks], 5.0)


def test_only_placed_tasks_are_given_in_the_order_of_their_keys_as_long_as_there_is_room() -> None:
    ledger = make()
    ledger.release(2.5)
    assert [task.number for task in ledger.queue(0, 2.5)] == [0, 1, 2]
    assert ledger.take(1, (0, 0, 0), 2.5) == []
    ledger.place(0, [HandOver(2, 0, 1.0), HandOver(1, 0, 2.0), HandOver(0, 0, 3.0)], 2.5)
    assert [start.task for start in ledger.take(1, (0, 0, 0), 2.5)] == [2, 1]
    assert ledger.take(1, (0,), 2.5) == []
    assert [start.task for start in ledger.take(4, (0, 0), 2.5)] == [0]
    assert ledger.stock(1) == (0.0, 1.0)
    assert ledger.running_s(1, 4.5) == (6.0, 6.0)


@pytest.mark.parametrize(
    ("node", "claim"),
    [
        (0, HandOver(3, 1, 0.0)),  # has not arrived
        (1, HandOver(0, 0, 0.0)),  # is not there
        (0, HandOver(0, 2, 0.0)),  # is out of range
        (0, HandOver(0, 99, 0.0)),
    ],
)
def test_what_cannot_be_granted_changes_nothing(node: int, claim: HandOver) -> None:
    ledger = make()
    ledger.release(0.0)
    assert ledger.settle(node, [claim], (7, 2, 0), 0.0) == []
    assert ledger.unplaced == [[0], [], [], [], []]
    assert ledger.log.moves == []


def test_a_task_is_handed_over_so_often_and_no_more_but_may_be_handed_on_from_a_queue() -> None:
    ledger = make()
    ledger.release(0.0)
    ledger.place(0, [HandOver(0, 1, 0.0)], 0.0)
    ledger.place(1, [HandOver(0, 2, 0.0)], 1.0)
    assert ledger.unplaced[1] == [0]
    keep(ledger, 1, 0)
    ledger.hand_on(1, [HandOver(0, 2, 0.0)], 6.0)
    assert ledger.unplaced[2] == [0]
    keep(ledger, 2, 0)
    ledger.take(2, (2,), 7.0)
    ledger.note(Finished(0, 2, 7.0, 17.0))
    ledger.log.end_s = 20.0
    validate(ledger.log, hops=1)
    assert [move.again for move in ledger.log.moves] == [False, True]


def test_what_a_dead_worker_ran_waits_again_and_counts_once() -> None:
    ledger = make(2)
    ledger.release(5.0)
    keep(ledger, 0, 0, 1)
    ledger.take(0, (0, 0), 5.0)
    for event in (NodeGone(0, 8.0), Lost(0, 0, 8.0), Lost(1, 0, 8.0), Lost(1, 0, 8.0), Finished(1, 0, 5.0, 15.0)):
        ledger.note(event)
    assert ledger.unplaced[0] == [0, 1]
    assert ledger.stock(0) == (0.0, 0.0)
    keep(ledger, 0, 0, 1)
    assert ledger.take(0, (0,), 9.0) == []
    assert len(ledger.take(1, (0, 0), 9.0)) == 2
    for event in (NodeBack(0, 10.0), Finished(0, 1, 9.5, 21.0), Finished(1, 1, 9.5, 20.0)):
        ledger.note(event)
    assert ledger.done
    assert ledger.stock(0) == (1.0, 2.0)
    ledger.log.end_s = 21.0
    validate(as_measured(ledger.log), hops=1)
    assert [each.task for each in ledger.log.lost] == [0, 1]


def test_the_queue_of_a_lost_agent_goes_to_the_nearest() -> None:
    ledger = make()
    ledger.release(1.0)
    keep(ledger, 0, 0)
    ledger.abandon(0, 1.5)
    assert ledger.queues[0] == ledger.unplaced[0] == []
    assert sorted(ledger.unplaced[1]) == [0, 1]
    ledger.release(2.0)  # and so do those that arrive later
    assert sorted(ledger.unplaced[1]) == [0, 1, 2]
    assert ledger.settle(0, [], (1,), 2.0) == []
    for node in range(1, 5):
        ledger.abandon(node, 3.0)
    assert sum(map(len, ledger.unplaced)) == 3


def test_a_task_becomes_ready_when_the_last_it_depends_on_has_ended() -> None:
    ledger = make(3, ((), (), (0, 1)))
    ledger.release(10.0)
    assert ledger.unplaced[0] == [0, 1]
    keep(ledger, 0, 0, 1)
    ledger.take(0, (0, 0), 10.0)
    ledger.note(Finished(1, 0, 10.0, 19.0))
    assert ledger.unplaced[0] == []
    ledger.note(Finished(0, 0, 10.0, 20.0))
    assert ledger.unplaced[0] == [2]
    assert ledger.log.ready_s[2] == 20.0
