"""Processes of our own, which neither outlive the one that started them nor end by what is meant for it."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess


def one_thread_each() -> None:
    """Let processes started from now on run their linear algebra on one thread: it is they that run in parallel."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))


def follow_parent() -> None:
    """Let this process and all that it starts end with its parent, however that ends.

    It leaves the terminal's process group, so that an interrupt reaches the parent alone, which decides.
    """
    os.setsid()
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def kill(process: BaseProcess) -> None:
    """Kill a process that follows this one, with all that it started."""
    process.kill()
    try:
        os.killpg(process.pid or 0, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it had not become a group yet, or has ended


@contextmanager
def pool_of(count: int, begin: Callable[[], None] = follow_parent) -> Iterator[ProcessPoolExecutor]:
    """Processes that follow this one, for a block of code; whatever interrupts it, ends them at once.

    They are spawned, for a fork would copy the locks of threads that it does not copy.

    Args:
        count: of processes.
        begin: what each does first; it must follow its parent.
    """
    one_thread_each()
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=begin) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                kill(process)
            raise
