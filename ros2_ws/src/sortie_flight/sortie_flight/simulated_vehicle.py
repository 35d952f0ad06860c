"""Simulated autopilots as vehicles, without a wire: the part of a mixed flight that is not real."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sortie_flight.vehicle import Mode, Setpoint, Vehicle, VehicleState
from sortie_peers.flight_stack import PX4, Phase
from sortie_peers.peer_process import make_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.flight_config import FlightConfig
    from sortie_peers.flight_stack import Autopilot

_MOST_S = 0.1
_CLIMB_MPS = 0.5


class SimulatedFleet:
    """All simulated drones of a flight, in one world.

    Args:
        config: of the flight.
        drones: which of the team they are.

    Attributes:
        vehicles: one for each.
    """

    def __init__(self, config: FlightConfig, drones: Sequence[int]) -> None:
        self._stack = make_stack(config, drones, PX4)
        self._last_s = time.monotonic()
        self.vehicles = [SimulatedVehicle(each, self) for each in self._stack.autopilots]

    def advance(self) -> None:
        """Let the time pass that has passed since the last call."""
        now_s = time.monotonic()
        if now_s > self._last_s:
            self._stack.advance(min(now_s - self._last_s, _MOST_S))
            self._last_s = now_s


class SimulatedVehicle(Vehicle):
    """One simulated drone."""

    def __init__(self, autopilot: Autopilot, fleet: SimulatedFleet) -> None:
        self._autopilot, self._fleet = autopilot, fleet

    @staticmethod
    def check(address: str) -> None:
        """It has no address."""

    def open(self) -> None:
        """It is there."""

    def state(self) -> VehicleState:
        """See `Vehicle`; the world goes on until now."""
        self._fleet.advance()
        now_s, autopilot = time.monotonic(), self._autopilot
        return VehicleState(
            measured_s=now_s,
            latency_s=0.0,
            position=autopilot.position.copy(),
            velocity=autopilot.velocity.copy(),
            attitude=autopilot.attitude.copy(),
            heard_s=now_s,
            armed=autopilot.armed,
            airborne=autopilot.airborne,
            locked=autopilot.locked,
            battery_v=4 * autopilot.battery_v,
            link=1.0,
            mode=autopilot.phase.value,
            failsafe=autopilot.failsafe,
        )

    def command(self, setpoint: Setpoint) -> None:
        """See `Vehicle`."""
        autopilot = self._autopilot
        match setpoint.mode:
            case Mode.GROUND:
                autopilot.disarm()
            case Mode.ARM:
                autopilot.arm()
            case Mode.TAKE_OFF if autopilot.phase is Phase.READY:
                autopilot.take_off(setpoint.height_m, setpoint.height_m / _CLIMB_MPS)
            case Mode.FOLLOW:
                autopilot.follow(setpoint.velocity)
            case Mode.LAND:
                autopilot.land()
            case Mode.EMERGENCY:
                autopilot.cut()

    def close(self) -> None:
        """It goes on by its failsafe, as far as anybody looks."""
