"""How a process that computes for long beside others uses its core and its memory."""

from __future__ import annotations

import ctypes

import torch

# Parameters of mallopt(3), of glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = -1
_GROW_BY_BYTES = 64 << 20


def compute_on_one_core() -> None:
    """Compute on one thread, and keep memory that is freed, for what comes next.

    Every tick of many environments makes arrays of megabytes, which the C library would hand back to the system as soon
    as they are freed; then each of their pages would be a fault, and zeroed, the next time. In training graph attention
    that took a third of the time.
    """
    torch.set_num_threads(1)
    set_allocator = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_allocator:
        set_allocator(_MMAP_MAX, 0)
        set_allocator(_TRIM_THRESHOLD, _NEVER)
        set_allocator(_TOP_PAD, _GROW_BY_BYTES)
