"""What a trace's task does on a real worker: it burns processor time and holds memory. Runs on the worker alone."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np

_BURST_BYTES = 1 << 16
_REST_S = 0.005
_PAGE_BYTES = 4096
_DYING_S = 0.05


def run_load(duration_s: float, duty: float, memory_mb: float) -> tuple[float, float, float]:
    """Load a worker as a task of a trace would.

    It ends once both are over: the duration, and the processor time, so that it takes longer where the machine has none
    to give. The time is this thread's own (`time.thread_time`), since several tasks share a worker's process.

    Args:
        duration_s: wall clock that it takes at least.
        duty: share of one core that it burns.
        memory_mb: held from beginning to end, every page of it touched.

    Returns:
        When it began and ended, s since the epoch; and the processor time burnt, s.
    """
    began_s, began_cpu_s = time.time(), time.thread_time()
    started_s = time.perf_counter()
    held = np.zeros(max(1, int(memory_mb * 2**20)), np.uint8)
    held[::_PAGE_BYTES] = 1
    work = np.arange(_BURST_BYTES // 8, dtype=np.float64)
    while True:
        passed_s = time.perf_counter() - started_s
        burnt_s = time.thread_time() - began_cpu_s
        if burnt_s < duty * min(passed_s, duration_s):
            np.sqrt(work, out=work)  # leaves the interpreter's lock to the worker's other tasks
        elif passed_s < duration_s:
            time.sleep(min(_REST_S, duration_s - passed_s))
        else:
            break
    if not held[0]:
        raise AssertionError("the memory is not this task's own")
    return began_s, time.time(), burnt_s


def die_soon() -> None:
    """End this worker by SIGKILL, once whoever asks for it has been answered."""
    threading.Timer(_DYING_S, os.kill, (os.getpid(), signal.SIGKILL)).start()
