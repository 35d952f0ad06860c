"""A process that computes for long keeps the memory that it frees."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
import numpy as np, torch
from sortie_train.one_core import compute_on_one_core
if sys.argv[1] == "keeping":
    compute_on_one_core()
    assert torch.get_num_threads() == 1
for part in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.full(40 << 17, 1.0)  # 40 MiB, more than the C library keeps of itself
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    faults = {}
    for how in ("as it is", "keeping"):
        command = [sys.executable, "-c", COUNT_FAULTS, how]
        faults[how] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults["keeping"] < faults["as it is"] / 10
