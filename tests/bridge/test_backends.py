"""The backends, the one of Dask with real worker processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from dask import config as dask_config

from sortie_bridge import dask_backend
from sortie_bridge.backends import Backend, Event, Finished, Lost, NodeBack, NodeGone, SimulatedBackend
from sortie_bridge.dask_backend import DaskBackend
from sortie_bridge.load import run_load
from sortie_cluster.cluster import Cluster
from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def four_nodes() -> Cluster:
    linked = ~np.eye(4, dtype=bool)
    return Cluster(np.ones(4), np.full(4, 10.0), np.array([1.0, 1.0, 0.5, 2.0]), linked)


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskBackend]:
    backend = DaskBackend(four_nodes(), time_scale=0.01, core_share=0.5, memory_mb=10.0)
    yield backend
    backend.close()


def collect(backend: Backend, enough: Callable[[list[Event]], bool], timeout_s: float = 20.0) -> list[Event]:
    found: list[Event] = []
    deadline_s = time.monotonic() + timeout_s
    while not enough(found):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.02)
        found += backend.events(np.inf)
    return found


def count(events: list[Event], kind: type) -> int:
    return sum(isinstance(each, kind) for each in events)


def test_forty_tasks_run_where_they_were_put(dask: DaskBackend) -> None:
    dask.begin()
    for task in range(40):
        dask.submit(task, task % 4, 5.0, 0.1, 0.1, 0.0)
    events = collect(dask, lambda each: count(each, Finished) == 40)
    finished = [each for each in events if isinstance(each, Finished)]
    assert sorted((each.task, each.node) for each in finished) == [(task, task % 4) for task in range(40)]
    took_s = {node: [e.ended_s - e.began_s for e in finished if e.node == node] for node in range(4)}
    assert min(took_s[2]) >= 10.0 - 0.5  # half as fast
    assert min(took_s[3]) >= 2.5 - 0.5  # twice as fast


def test_processor_time_is_burnt_and_memory_held(dask: DaskBackend) -> None:
    dask.begin()
    process = psutil.Process(dask.pid(0))
    before_mb, before_s = process.memory_info().rss / 2**20, sum(process.cpu_times()[:2])
    dask.submit(0, 0, 100.0, 1.0, 8.0, 0.0)  # 1 s of wall clock, half a core, 80 MB
    most_mb = 0.0

    def watch(events: list[Event]) -> bool:
        nonlocal most_mb
        most_mb = max(most_mb, process.memory_info().rss / 2**20 - before_mb)
        return bool(events)

    (done,) = collect(dask, watch)
    assert isinstance(done, Finished)
    assert done.cpu_s >= 0.5 - 1e-3
    assert sum(process.cpu_times()[:2]) - before_s >= 0.45
    assert done.ended_s - done.began_s >= 100.0 - 0.5
    assert most_mb > 70


def test_a_killed_worker_loses_its_tasks_once_and_they_run_elsewhere(dask: DaskBackend) -> None:
    dask.begin()
    for task in range(3):
        dask.submit(task, 1, 500.0, 0.1, 0.1, 0.0)
    dask.submit(3, 0, 100.0, 0.1, 0.1, 0.0)
    time.sleep(0.5)
    os.kill(dask.pid(1), signal.SIGKILL)
    events = collect(dask, lambda each: count(each, Lost) >= 3 and count(each, NodeGone) >= 1)
    assert sorted(each.task for each in events if isinstance(each, Lost)) == [0, 1, 2]
    assert isinstance(events[0], NodeGone), "so that nobody gives it the tasks again"
    for task in range(3):
        dask.submit(task, 2, 10.0, 0.1, 0.1, 0.0)
    events += collect(dask, lambda each: count(events + each, Finished) == 4 and count(events + each, NodeBack) == 1)
    time.sleep(0.5)
    events += dask.events(np.inf)
    assert count(events, Lost) == 3
    assert sorted((each.task, each.node) for each in events if isinstance(each, Finished)) == [
        (0, 2), (1, 2), (2, 2), (3, 0),
    ]  # fmt: skip
    dask.submit(7, 1, 1.0, 0.1, 0.1, 0.0)  # the node is back
    (done,) = collect(dask, bool)
    assert done[:2] == (7, 1)
    dask.kill(1, 0.0)
    assert [type(each) for each in collect(dask, lambda each: len(each) == 2)] == [NodeGone, NodeBack]


def test_workers_that_live_are_never_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_backend, "_WATCH_S", 0.001)
    with dask_config.set({"distributed.client.scheduler-info-interval": "1ms"}):  # the client's refreshing, else 2 s
        backend = DaskBackend(four_nodes(), time_scale=0.01)
    try:
        backend.begin()
        backend.submit(0, 0, 400.0, 0.0, 0.1, 0.0)
        collect(backend, lambda events: [type(each) for each in events] == [Finished])
    finally:
        backend.close()


def test_workers_of_others_need_nothing_of_this_project(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    dask = [sys.executable, "-m", "dask"]
    commands = [[*dask, "scheduler", "--host", address, "--no-dashboard", "--no-show"]]
    commands += [[*dask, "worker", address, "--nthreads", "4", "--name", f"w{k}", "--no-dashboard"] for k in range(2)]
    started = [
        subprocess.Popen(command, cwd=tmp_path, env=plain, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        deadline_s = time.monotonic() + 20
        while True:
            try:
                backend = DaskBackend(Cluster(*np.ones((3, 2)), ~np.eye(2, dtype=bool)), 0.01, address=address)
                break
            except UserError as error:
                assert time.monotonic() < deadline_s, error
        backend.submit(0, 0, 5.0, 0.1, 1.0, 0.0)
        backend.submit(1, 1, 500.0, 0.1, 1.0, 0.0)
        backend.kill(1, 0.0)
        events = collect(backend, lambda each: count(each, NodeBack) == 1 and count(each, Finished) == 1)
        assert [type(each) for each in events if each[:2] == (1, 1)] == [Lost]
        backend.close()
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(10)


def test_an_unreachable_scheduler_is_one_clear_line() -> None:
    began_s = time.monotonic()
    with pytest.raises(UserError, match=r"live\.address: nobody answers at tcp://127\.0\.0\.1:9 .*dask scheduler"):
        DaskBackend(four_nodes(), 0.01, address="tcp://127.0.0.1:9")
    assert time.monotonic() - began_s < 6


def test_the_load_burns_its_share_of_the_time() -> None:
    began_s = time.perf_counter()
    _, _, cpu_s = run_load(0.4, 0.25, 1.0)
    assert time.perf_counter() - began_s >= 0.4
    assert cpu_s >= 0.1
    assert run_load(0.0, 1.0, 0.0)[2] >= 0


def test_the_simulated_backend_ends_fails_and_returns_in_order() -> None:
    backend = SimulatedBackend(four_nodes(), failures=((0, 4.0, 9.0),))
    backend.submit(0, 0, 10.0, 1, 1, 0.0)
    backend.submit(1, 3, 10.0, 1, 1, 0.0)
    assert backend.events(3.9) == []
    assert backend.events(4.0) == [NodeGone(0, 4.0), Lost(0, 0, 4.0)]
    backend.submit(0, 2, 10.0, 1, 1, 4.0)
    assert [type(each).__name__ for each in backend.events(30.0)] == ["Finished", "NodeBack", "Finished"]
    backend.kill(1, 31.0)
    assert backend.events(50.0) == [NodeGone(1, 31.0), NodeBack(1, 41.0)]
