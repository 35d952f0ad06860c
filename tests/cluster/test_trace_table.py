"""The table of a trace: selection, windows, levels of the jobs' graphs."""

from __future__ import annotations

import numpy as np
import pytest

from sortie_cluster.trace_table import WINDOWS, TraceTable, closing_edges, levels, parents_of
from sortie_core.config import UserError


def table(jobs: list[int], registered_s: list[float], parents: tuple[tuple[int, ...], ...] | None = None) -> TraceTable:
    n = len(jobs)
    return TraceTable(
        job=np.array(jobs),
        job_name=np.array([f"j_{job}" for job in jobs]),
        task_name=np.array([f"M{task}" for task in range(n)]),
        registered_s=np.array(registered_s, np.float64),
        duration_s=np.arange(1.0, n + 1),
        cpu=np.ones(n),
        memory=np.full(n, 0.3),
        instances=np.ones(n, np.int64),
        parents=parents or ((),) * n,
        row=np.arange(n) + 1,
    )


def test_a_selection_keeps_the_parents_that_it_holds_and_renumbers_them() -> None:
    whole = table([0, 0, 0, 0], [0, 1, 2, 3], ((), (0,), (0, 1), (1, 2)))
    part = whole.select(np.array([True, False, True, True]))
    assert part.parents == ((), (0,), (1,))
    assert part.task_name.tolist() == ["M0", "M2", "M3"]
    assert part.duration_s.tolist() == [1.0, 3.0, 4.0]
    assert part.name(2) == "row 4 (j_0/M3)"
    assert len(whole.select(np.zeros(4, bool))) == 0


def test_windows_hold_whole_jobs_by_first_registration_and_are_disjoint() -> None:
    rng = np.random.default_rng(5)
    jobs = rng.integers(0, 50, 400)
    whole = table(jobs.tolist(), np.sort(rng.uniform(0, 100, 400)).tolist())
    windows = {name: whole.window(name) for name in WINDOWS}
    assert sum(len(window) for window in windows.values()) == len(whole)
    jobs_of = {name: set(window.job.tolist()) for name, window in windows.items()}
    assert [len(jobs_of[name]) for name in ("train", "validation", "test")] == [30, 10, 10]
    assert len(set.union(*jobs_of.values())) == 50
    first = {job: whole.registered_s[whole.job == job].min() for job in range(50)}
    latest = {name: max(first[job] for job in found) for name, found in jobs_of.items()}
    earliest = {name: min(first[job] for job in found) for name, found in jobs_of.items()}
    assert latest["train"] <= earliest["validation"] and latest["validation"] <= earliest["test"]


def test_an_unknown_window_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match="no window 'tset' .*train, validation, test"):
        table([0], [0.0]).window("tset")


def test_depth_is_the_longest_way_from_a_root() -> None:
    whole = table([0] * 5, [0, 1, 2, 3, 4], ((), (0,), (), (0, 1), (2, 3)))
    assert whole.depth().tolist() == [0, 1, 0, 2, 3]
    assert len(table([], [], ()).depth()) == 0


def test_edges_and_parents_are_inverse() -> None:
    parents = ((), (0,), (), (0, 1), (2, 3))
    whole = table([0] * 5, [0, 1, 2, 3, 4], parents)
    assert parents_of(5, *whole.edges()) == parents


def test_without_the_closing_edges_no_cycle_is_left() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        parents, children = rng.integers(0, 12, (2, 25))
        different = parents != children
        parents, children = parents[different], children[different]
        closing = closing_edges(12, parents, children)
        _, ranked = levels(12, np.delete(parents, closing), np.delete(children, closing))
        assert ranked.all()
        assert bool(len(closing)) == (not levels(12, parents, children)[1].all())
