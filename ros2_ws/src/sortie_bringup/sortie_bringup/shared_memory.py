"""What killed processes leave behind in shared memory, and how it goes away again.

Fast DDS keeps segments ``fastrtps_<hex>`` and ports ``fastrtps_port<number>`` in /dev/shm, and locks ``<name>_el`` for
as long as their owner lives. A process that is killed cannot remove them, and enough of them leave no room for new
ones.
"""

from __future__ import annotations

import fcntl
import re
import time
from pathlib import Path

_FOLDER = Path("/dev/shm")
_PORT = re.compile(r"fastrtps_port(\d+)$")
_SEGMENT = re.compile(r"fastrtps_[0-9a-f]{16}$")
_DOMAIN_PORT, _DOMAIN_GAIN = 7400, 250  # DDSI-RTPS 2.5, section 9.6.2.3
_SETTLED_S = 10.0
"""Younger files may belong to a process that has not locked them yet."""


def remove_orphans(folder: Path = _FOLDER, older_than_s: float = _SETTLED_S) -> int:
    """Remove segments whose owner is dead, and the ports of domains in which nobody lives.

    A port may have lost its lock and still be in use by those who send to it; where its whole domain is dead, nobody
    sends.

    Args:
        folder: where Fast DDS keeps its files.
        older_than_s: leave younger files alone.

    Returns:
        How many were removed, their locks not counted.
    """
    if not folder.is_dir():
        return 0
    names = sorted(path.name for path in folder.iterdir())
    ports = {name: (int(match[1]) - _DOMAIN_PORT) // _DOMAIN_GAIN for name in names if (match := _PORT.match(name))}
    living = {domain for name, domain in ports.items() if _is_held(folder / f"{name}_el")}
    orphans = [name for name, domain in ports.items() if domain not in living]
    orphans += [name for name in names if _SEGMENT.match(name) and not _is_held(folder / f"{name}_el")]
    newest = time.time() - older_than_s
    return sum(_remove(folder, name) for name in orphans if _changed_at(folder / name) <= newest)


def _is_held(lock: Path) -> bool:
    """Whether a process holds the lock; so does one that may not be looked at, and none where there is no file."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _remove(folder: Path, name: str) -> bool:
    try:
        (folder / name).unlink()
        for companion in (f"{name}_el", f"{name}_sl", f"sem.{name}_mutex"):
            (folder / companion).unlink(missing_ok=True)
    except OSError:
        return False
    return True
