"""Child processes: start, prefix their output, notice their end, stop them in good order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_bringup.fleet import NodeDescription

_PATIENCE_S = ((signal.SIGTERM, 12.0), (signal.SIGKILL, 2.0))
"""How to ask a process to end, and how long to wait before asking more firmly: drones are landed first.

Not SIGINT first: a Python process that is still starting answers that with a traceback.
"""
_MORTAL = ("setpriv", "--pdeathsig", "TERM")
"""What makes a process end when its parent does, however that ends."""
_POLITE = ("nice", "-n", "5")
"""Policies think only while those who keep time leave them a core: the gate, the radio, the vehicles."""
_POLL_S = 0.05


def _doze() -> None:
    time.sleep(_POLL_S)


def prefix(node: NodeDescription) -> tuple[str, ...]:
    """The command that the command of a node is an argument of."""
    return (*_MORTAL, *_POLITE) if node.drones else _MORTAL


def command_line(node: NodeDescription) -> list[str]:
    """The command that starts a node, as `ros2 run` and `ros2 launch` would.

    Raises:
        UserError: the workspace is not built or not sourced.
    """
    try:
        path = Path(get_package_prefix(node.package)) / "lib" / node.package / node.executable
    except PackageNotFoundError:
        raise UserError(f"no ROS package {node.package}; run `make setup`, or source the workspace") from None
    if not path.exists():
        raise UserError(f"no executable {path}; run `make setup` to build the workspace again")
    remaps = [("__node", node.name), ("__ns", node.namespace)]
    ros = ["--enclave", node.enclave]
    ros += [item for name, value in remaps if value for item in ("-r", f"{name}:={value}")]
    # JSON is YAML, with every string quoted.
    ros += [item for name, value in node.parameters.items() for item in ("-p", f"{name}:={json.dumps(value)}")]
    return [str(path), *node.arguments, "--ros-args", *ros]


class ProcessGroup:
    """The processes of a mission.

    Args:
        say: called with a label and a line for each line that a process prints; from several threads.
    """

    def __init__(self, say: Callable[[str, str], None]) -> None:
        """Nothing runs yet."""
        self._say = say
        self._running: list[tuple[NodeDescription, subprocess.Popen[str]]] = []
        self._readers: list[threading.Thread] = []

    def __len__(self) -> int:
        """How many run, as far as `ended` has told."""
        return len(self._running)

    def start(self, node: NodeDescription) -> None:
        """Start one process.

        It leads a session of its own, so that Ctrl-C reaches the runner alone, and ends when the runner is killed.

        Raises:
            UserError: as `command_line`.
        """
        process = subprocess.Popen(
            [*prefix(node), *command_line(node)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(node.label, process), daemon=True)
        reader.start()
        self._running.append((node, process))
        self._readers.append(reader)

    def _read(self, label: str, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self._say(label, line.rstrip("\n"))

    def ended(self) -> list[tuple[NodeDescription, int]]:
        """Processes that have ended since the last call, with their exit codes (negative: the signal)."""
        over = [(node, process) for node, process in self._running if process.poll() is not None]
        self._running = [entry for entry in self._running if entry not in over]
        return [(node, process.returncode) for node, process in over]

    @staticmethod
    def _end(processes: list[subprocess.Popen[str]], meanwhile: Callable[[], object]) -> None:
        for number, patience_s in _PATIENCE_S:
            for process in processes:
                if process.poll() is None:
                    _signal(process, number)
            deadline_s = time.monotonic() + patience_s
            while any(process.poll() is None for process in processes) and time.monotonic() < deadline_s:
                meanwhile()

    def stop(self, meanwhile: Callable[[], object] = _doze) -> list[tuple[NodeDescription, str]]:
        """End all processes.

        Args:
            meanwhile: called again and again until they have ended; takes a little while.

        Returns:
            Those that ended otherwise than cleanly, and how.
        """
        for last in (False, True):
            self._end([process for node, process in self._running if node.outlives is last], meanwhile)
        for reader in self._readers:
            reader.join(1.0)
        # One that is still starting, or about to end by itself, takes the signal as the system means it.
        clean = (0, -signal.SIGTERM)
        return [
            (node, describe(process.returncode)) for node, process in self._running if process.returncode not in clean
        ]


def describe(exit_code: int) -> str:
    """An exit code as `subprocess` has it, for people."""
    return f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"


def _signal(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        pass
