"""What the tests of all adapters fly with: simulated drones in another process, asked until something is seen."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sortie_flight.vehicle import Mode, Setpoint, Vehicle, VehicleState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GROUND, ARM, LAND, EMERGENCY = (Setpoint(mode) for mode in (Mode.GROUND, Mode.ARM, Mode.LAND, Mode.EMERGENCY))
HOVER = Setpoint(Mode.FOLLOW)
_PROJECT = Path(__file__).parents[2]
_PERIOD_S = 0.04


@dataclass
class Drones:
    """What is flown.

    Attributes:
        address: of the first one.
        port: of it, where it is simulated; the second has the next one.
        process: what simulates them; None for a real drone.
    """

    address: str
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def spoil(self, fault: str, value: float = 0.0, drone: int = 0) -> None:
        """Let something go wrong; see `sortie_peers.peer.spoil`."""
        if self.process is None or self.process.stdin is None:
            pytest.skip(f"nothing can be made to go wrong with a real drone: {fault}")
        self.process.stdin.write(json.dumps({"drone": drone, "fault": fault, "value": value}) + "\n")
        self.process.stdin.flush()


def free_ports() -> int:
    """The first of two UDP ports in a row that nobody listens at."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
        ):
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            if port < 65000:
                return port


@contextmanager
def simulated(adapter: str, address: str) -> Iterator[Drones]:
    """Two drones behind the wire format of an adapter, in a process of their own.

    Args:
        adapter: mavlink or cflib.
        address: with {port} in it.
    """
    port = free_ports()
    command = [sys.executable, "-m", "sortie_peers.peer_process", "--config", f"configs/flight/{adapter}.yaml"]
    command += ["--adapter", adapter, "--", "team.n_agents=2", f"flight.first_port={port}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(_PROJECT / name) for name in ("sim", "learning"))}
    with subprocess.Popen(
        command, cwd=_PROJECT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and "up" in process.stdout.readline()
            yield Drones(address.format(port=port), port, process)
        finally:
            process.terminate()


def fly(
    vehicle: Vehicle,
    setpoint: Setpoint | None,
    until: Callable[[VehicleState], object],
    timeout_s: float = 30.0,
    meanwhile: Callable[[], object] = lambda: None,
) -> VehicleState:
    """Ask for something (or say nothing) at 25 Hz until it is seen.

    Args:
        vehicle: of whom.
        setpoint: what.
        until: whether it is seen in a state.
        timeout_s: the test fails after so long, s.
        meanwhile: called each time.

    Returns:
        The state in which it is seen.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        if setpoint is not None:
            vehicle.command(setpoint)
        meanwhile()
        state = vehicle.state()
        if until(state):
            return state
        assert time.monotonic() < end_s, f"{setpoint} has led to {state}"
        time.sleep(_PERIOD_S)


def fly_for(
    vehicle: Vehicle, setpoint: Setpoint | None, duration_s: float, meanwhile: Callable[[], object] = lambda: None
) -> VehicleState:
    """Ask for something, or say nothing, for a while; the state after it."""
    end_s = time.monotonic() + duration_s
    return fly(vehicle, setpoint, lambda _: time.monotonic() > end_s, duration_s + 5, meanwhile)
