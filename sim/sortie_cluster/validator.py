"""Proves that a schedule could have happened: from the log and the workload alone, without the world that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sortie_cluster.schedule import Schedule

_TOLERANCE = 1e-6


class InfeasibleScheduleError(Exception):
    """A schedule that no cluster could have carried out; the message names the first violation."""


def validate(schedule: Schedule, hops: float = np.inf) -> None:
    """Check capacity, dependencies, durations, moves, and that no task is lost or runs twice.

    Args:
        schedule: of any run, finished or not.
        hops: over how many radio hops a task may be handed or taken at once.

    Raises:
        InfeasibleScheduleError: it is not feasible.
    """
    for violation in violations(schedule, hops):
        raise InfeasibleScheduleError(violation)


def violations(schedule: Schedule, hops: float = np.inf) -> Iterator[str]:
    """What is wrong with a schedule, one line each."""
    yield from _lives(schedule)
    yield from _capacity(schedule)
    yield from _dependencies(schedule)
    yield from _moves(schedule, hops)


def _arrays(schedule: Schedule) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    ready, begin, end = (np.array(each) for each in (schedule.ready_s, schedule.begin_s, schedule.end_s_of))
    return ready, begin, end, np.array(schedule.node)


def _first(wrong: np.ndarray, text: str) -> Iterator[str]:
    if wrong.any():
        yield f"task {int(np.flatnonzero(wrong)[0])} {text} ({int(wrong.sum())} such tasks)"


def _lives(schedule: Schedule) -> Iterator[str]:
    """Ready, then begun, then ended after as long as the task needs there; dropped tasks never run."""
    ready, begin, end, node = _arrays(schedule)
    workload, cluster = schedule.workload, schedule.cluster
    begun, ended, dropped = ~np.isnan(begin), ~np.isnan(end), np.array(schedule.dropped)
    yield from _first(begun & np.isnan(ready), "began but never arrived")
    yield from _first(ended & ~begun, "ended but never began")
    yield from _first(dropped & begun, "was dropped and ran")
    yield from _first(begun & ((node < 0) | (node >= len(cluster))), "ran on no node")
    with np.errstate(invalid="ignore"):
        yield from _first(begun & (begin < ready - _TOLERANCE), "began before it was ready")
        if not workload.closed:
            yield from _first(ready < workload.arrival_s - _TOLERANCE, "was ready before it arrived")
        at = np.clip(node, 0, None)
        if cluster.service_s.size:
            needed = cluster.service_s[at, workload.kind]
        else:
            needed = workload.work_s / cluster.speed[at]
        wrong = ended & (np.abs(end - begin - needed) > _TOLERANCE * (1 + np.abs(end)))
        yield from _first(wrong, "did not run for as long as it needs")
        yield from _first(begun & ~ended & (begin + needed < schedule.end_s - _TOLERANCE), "began and got lost")


def _capacity(schedule: Schedule) -> Iterator[str]:
    """At no time does what runs on a node need more than it has."""
    _, begin, end, node = _arrays(schedule)
    workload, cluster = schedule.workload, schedule.cluster
    ran = ~np.isnan(begin)
    until = np.where(np.isnan(end), np.inf, end)
    intervals = [(node[ran], begin[ran], until[ran], np.flatnonzero(ran))]
    if schedule.lost:
        lost = schedule.lost
        intervals.append(
            (
                np.array([each.node for each in lost]),
                np.array([each.began_s for each in lost]),
                np.array([each.at_s for each in lost]),
                np.array([each.task for each in lost]),
            )
        )
    at, since, to, task = (np.concatenate(parts) for parts in zip(*intervals, strict=True))
    for name, need, most in (("CPU", workload.cpu, cluster.cpu), ("memory", workload.memory, cluster.memory)):
        when = np.concatenate([since, to])
        where = np.tile(at, 2)
        change = np.concatenate([need[task], -need[task]])
        # at one time, what ends makes room for what begins
        order = np.lexsort((change, when, where))
        where, change = where[order], change[order]
        used = np.cumsum(change)
        starts = np.r_[True, where[1:] != where[:-1]]
        first_of = np.maximum.accumulate(np.where(starts, np.arange(len(used)), 0))
        used -= (used - change)[first_of]
        over = used > most[where] + _TOLERANCE
        if over.any():
            first = int(np.flatnonzero(over)[0])
            yield f"node {where[first]} gives {used[first]:.6g} of its {most[where[first]]:.6g} {name} away"


def _dependencies(schedule: Schedule) -> Iterator[str]:
    _, begin, end, _ = _arrays(schedule)
    for task, parents in enumerate(schedule.workload.parents):
        for parent in parents:
            if not np.isnan(begin[task]) and not end[parent] <= begin[task] + _TOLERANCE:
                yield f"task {task} began before task {parent}, on which it depends, had ended"
                return


def _moves(schedule: Schedule, hops: float) -> Iterator[str]:
    """Tasks go from where they are, no further than allowed, and not more often; who cannot run a task may always."""
    distance, at = schedule.cluster.distance, schedule.workload.entry.tolist()
    handed, most_handed = [0] * len(at), [0] * len(at)
    last_s = [-np.inf] * len(at)
    for move in schedule.moves:
        task = move.task
        if at[task] != move.source:
            yield f"task {task} left node {move.source} but was at node {at[task]}"
            return
        if distance[move.source, move.target] > hops:
            apart = distance[move.source, move.target]
            yield f"task {task} went from node {move.source} to {move.target}, which are {apart:g} hops apart"
            return
        if move.at_s < last_s[task] - _TOLERANCE:
            yield f"task {task} moved back in time"
            return
        unable = not move.pulled and _too_small(schedule, task, move.source)
        handed[task] = 1 if move.again else handed[task] + (not move.pulled and not unable)
        most_handed[task] = max(most_handed[task], handed[task])
        at[task], last_s[task] = move.target, move.at_s
    yield from _first(np.array(most_handed) > schedule.max_hops, "was handed over too often")
    if hops < np.inf:
        node = np.array(schedule.node)
        yield from _first((node >= 0) & (node != np.array(at)), "ran where it was not")


def _too_small(schedule: Schedule, task: int, node: int) -> bool:
    workload, cluster = schedule.workload, schedule.cluster
    return bool(
        workload.cpu[task] > cluster.cpu[node] + _TOLERANCE or workload.memory[task] > cluster.memory[node] + _TOLERANCE
    )
