"""Runs tasks on the workers of a Dask cluster: real processes under real load, in scaled time. No ROS in here.

A node is a worker, found again by its name when its process has died and another one has taken its place. Which worker
runs a task is told to Dask, and never left to it.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from sortie_bridge import load
from sortie_bridge.backends import Event, Finished, Lost, NodeBack, NodeGone
from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client, Future, LocalCluster

    from sortie_cluster.cluster import Cluster

_WATCH_S = 0.2
_CONNECT_S = 4.0
_READY_S = 60.0
_THREADS = 32
"""Of each worker; tasks that fit on a node at the same time, and more."""
_RESULT_S = 5.0


class DaskBackend:
    """One worker for each node.

    Args:
        nodes: the cluster; speeds are emulated, by load that is so much smaller or larger.
        time_scale: s of wall clock for each of the trace.
        core_share: cores of the machine that stand for one of a node's.
        memory_mb: MB for each percent of a trace machine's memory.
        address: of a running scheduler, e.g. tcp://10.0.0.5:8786; empty for workers of its own on this machine.

    Raises:
        UserError: nobody answers at the address, or there are fewer workers than nodes.
    """

    def __init__(
        self,
        nodes: Cluster,
        time_scale: float,
        core_share: float = 1.0,
        memory_mb: float = 10.0,
        address: str = "",
    ) -> None:
        """Connect, or start the workers."""
        self.nodes, self._scale, self._share, self._memory_mb = nodes, time_scale, core_share, memory_mb
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._running: dict[int, tuple[Future, int, str]] = {}
        self._dead: set[str] = set()  # told so by a task, while the scheduler may still count it among its workers
        self._closing = threading.Event()
        self._run_load, self._die_soon = _by_value(load.run_load), _by_value(load.die_soon)
        self._local: LocalCluster | None = None
        self._client = self._connect(address) if address else self._start()
        self._names = self._find_workers()
        self._address = self._look()
        self._epoch_s = time.time()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _connect(self, address: str) -> Client:
        from distributed import Client

        reachable(address)
        try:
            return Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"live.address: no Dask scheduler answers at {address} ({_first_line(error)})") from None

    def _start(self) -> Client:
        import dask
        from distributed import Client, LocalCluster

        # What a dead worker ran is given back at once, not sent to where it could run again.
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.admin.tick.limit": "60s"})
        self._local = LocalCluster(
            n_workers=len(self.nodes),
            threads_per_worker=_THREADS,
            processes=True,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=50,
        )
        return Client(self._local, set_as_default=False)

    def _find_workers(self) -> list[Any]:
        """The name of each node's worker."""
        n_nodes, deadline_s = len(self.nodes), time.monotonic() + (_READY_S if self._local else _CONNECT_S)
        while len(workers := self._workers()) < n_nodes:
            if time.monotonic() > deadline_s:
                raise UserError(
                    f"cluster.n_nodes: {n_nodes} nodes need as many Dask workers, there are {len(workers)}; start more "
                    "(dask worker ADDRESS) or lower it"
                )
            time.sleep(0.1)
        return sorted(workers, key=lambda name: (isinstance(name, str), name))[:n_nodes]

    def _workers(self) -> dict[Any, str]:
        """The address of each worker, by name.

        Asked of the scheduler itself: what `Client.scheduler_info` returns, the client's own refreshing, every 2 s,
        may have replaced by an answer without workers.
        """
        scheduler: Any = self._client.scheduler
        info = self._client.sync(scheduler.identity)
        return {worker["name"]: address for address, worker in info["workers"].items()}

    def _look(self) -> list[str]:
        """The address of each node's worker, empty where it is gone."""
        workers = self._workers()
        with self._lock:
            self._dead &= set(workers.values())
            return ["" if workers.get(name, "") in self._dead else workers.get(name, "") for name in self._names]

    # What the bridge asks for.

    def begin(self) -> None:
        """The clock starts; tasks of an earlier run are cancelled."""
        with self._lock:
            left, self._running, self._events = list(self._running.values()), {}, []
            self._events += [NodeGone(node, 0.0) for node, address in enumerate(self._address) if not address]
        for future, _, _ in left:
            future.cancel()
        self._epoch_s = time.time()

    def now_s(self, tick_s: float) -> float:
        """The wall clock's, scaled: workers wait for nobody."""
        return self._trace_s(time.time())

    def _trace_s(self, wall_s: float) -> float:
        return (wall_s - self._epoch_s) / self._scale

    def submit(self, task: int, node: int, work_s: float, cpu: float, memory: float, at_s: float) -> None:
        """Start a task on a node's worker, and on no other."""
        duration_s = work_s / float(self.nodes.speed[node]) * self._scale
        duty = min(1.0, cpu * self._share)
        address = self._address[node]
        with self._lock:
            if not address:
                self._events.append(Lost(task, node, at_s))
                return
            future = self._client.submit(
                self._run_load,
                duration_s,
                duty,
                memory * self._memory_mb,
                workers=[address],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            self._running[task] = (future, node, address)
        future.add_done_callback(lambda done: self._on_done(task, done))

    def events(self, until_s: float) -> list[Event]:
        """What the workers have told since the last call."""
        with self._lock:
            found, self._events = self._events, []
        return found

    def kill(self, node: int, at_s: float) -> None:
        """SIGKILL to a node's worker."""
        if address := self._address[node]:
            self._client.run(self._die_soon, workers=[address], on_error="ignore")

    def pid(self, node: int) -> int:
        """The process of a node's worker."""
        address = self._address[node]
        return int(self._client.run(os.getpid, workers=[address])[address])

    def close(self) -> None:
        """End the workers, where they are its own."""
        self._closing.set()
        self._watcher.join(2.0)
        self._client.close(timeout=2)
        if self._local:
            self._local.close(timeout=5)

    # What the workers tell, in other threads.

    def _on_done(self, task: int, future: Future) -> None:
        ended_s, result, killed = time.time(), None, False
        if future.status == "finished":
            try:
                result = future.result(timeout=_RESULT_S)
            except Exception:  # noqa: BLE001  the worker has died with the figures, not with the task
                result = (math.nan, ended_s, math.nan)
        elif future.status == "error":
            killed = type(future.exception(timeout=_RESULT_S)).__name__ == "KilledWorker"
        with self._lock:
            known = self._running.get(task)
            if known is None or known[0] is not future:
                return  # it was lost before
            del self._running[task]
            _, node, address = known
            if killed and self._address[node] == address:
                # before the task is given out again, and to the same node
                self._dead.add(address)
                self._address[node] = ""
                self._events.append(NodeGone(node, self._trace_s(ended_s)))
            if result:
                began_s, ended_s, cpu_s = result
                self._events.append(Finished(task, node, self._trace_s(began_s), self._trace_s(ended_s), cpu_s))
            else:
                self._events.append(Lost(task, node, self._trace_s(ended_s)))

    def _watch(self) -> None:
        """Notice workers that die and come back."""
        while not self._closing.wait(_WATCH_S):
            try:
                address = self._look()
            except Exception:  # noqa: BLE001  whatever it is, nobody answers
                if self._closing.is_set():
                    return
                address = [""] * len(self._names)
            if address != self._address:
                self._note(address)

    def _note(self, address: list[str]) -> None:
        at_s = self._trace_s(time.time())
        given_up = []
        with self._lock:
            address = ["" if each in self._dead else each for each in address]
            before, self._address = self._address, address
            for node, (old, new) in enumerate(zip(before, address, strict=True)):
                if old == new:
                    continue
                if old:
                    self._events.append(NodeGone(node, at_s))
                for task, (future, where, ran_at) in list(self._running.items()):
                    if where == node and ran_at != new:
                        del self._running[task]
                        given_up.append(future)
                        self._events.append(Lost(task, node, at_s))
                if new:
                    self._events.append(NodeBack(node, at_s))
        for future in given_up:
            future.cancel()


def reachable(address: str) -> None:
    """Refuse an address at which nobody listens, in a few seconds.

    Raises:
        UserError: nobody does.
    """
    import socket
    from urllib.parse import urlparse

    try:
        parts = urlparse(address if "://" in address else f"tcp://{address}")
        where = (parts.hostname or "", parts.port or 8786)
        with socket.create_connection(where, _CONNECT_S):
            pass
    except (OSError, ValueError) as error:
        raise UserError(
            f"live.address: nobody answers at {address} ({_first_line(error)}); start `dask scheduler` and workers "
            'there, or set it to "" for workers on this machine'
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, sent to workers with its code, so that they need nothing of this project."""
    import cloudpickle  # type: ignore[import-untyped]  # comes with dask

    cloudpickle.register_pickle_by_value(load)
    sent: Callable[..., Any] = cloudpickle.loads(cloudpickle.dumps(function))
    return sent
