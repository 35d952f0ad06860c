"""What the quadrotor simulators share: the clock, flight control, the checks of commands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from sortie_sim.flight_control import FlightControl
from sortie_sim.quadrotor import CRAZYFLIE2, Quadrotor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_core.config import Config

    Array = NDArray[np.float64]


class QuadrotorMotion(ABC):
    """A team of quadrotors under flight control; simulators add `_place`, `_set_rpm` and `_advance`.

    The clock counts whole physics periods. Durations are added up as exact fractions, and each `step` runs until the
    count is the one nearest to the time asked for: at 240 Hz a tick of 0.1 s is 24 periods, always, and a duration that
    is no whole number of periods is late or early by at most half of one, however long the flight. Flight control runs
    at every ``physics_hz / control_hz``-th period wherever the ticks fall, so a new command takes effect at most one
    control period after its tick.

    Attributes:
        powered: [N] bool, whose motors may turn; those of the others stand still until it is set again.
    """

    def __init__(self, config: Config, n_agents: int) -> None:
        """Fix the rates and the controller; subclasses connect to their simulator."""
        world = config.world
        self.n_agents = n_agents
        self.control_hz = world.control_hz
        self.physics_hz = world.physics_hz
        self.quadrotor: Quadrotor = CRAZYFLIE2
        self.effects = world.effects
        self._periods_per_control = self.physics_hz // self.control_hz
        self._control = FlightControl(
            self.quadrotor, n_agents, self.control_hz, world.max_accel_mps2, drag=world.effects.drag
        )
        self._state = np.zeros((n_agents, 13))
        self.powered = np.ones(n_agents, bool)
        self._asked_s = Fraction(0)
        self._periods = 0

    @property
    def position(self) -> Array:
        """[N, 3] m."""
        return self._state[:, 0:3].copy()

    @property
    def attitude(self) -> Array:
        """[N, 4] quaternion xyzw, body to world."""
        return self._state[:, 3:7].copy()

    @property
    def velocity(self) -> Array:
        """[N, 3] m/s."""
        return self._state[:, 7:10].copy()

    @property
    def angular_velocity(self) -> Array:
        """[N, 3] rad/s, world frame."""
        return self._state[:, 10:13].copy()

    @property
    def time_s(self) -> float:
        """Time flown since `reset`, s."""
        return self._periods / self.physics_hz

    def reset(self, position: Array) -> None:
        """Start over, hovering at position [N, 3] m.

        Raises:
            ValueError: wrong shape or a non-finite number.
        """
        position = self._checked("position", position, 3)
        self._asked_s = Fraction(0)
        self._periods = 0
        self.powered = np.ones(self.n_agents, bool)
        self._control.reset(position)
        self._place(position)
        self._set_rpm(np.full((self.n_agents, 4), self.quadrotor.hover_rpm))

    def step(self, velocity_command: Array, duration_s: float) -> None:
        """Follow a velocity command [N, 3] m/s for `duration_s`.

        Raises:
            ValueError: wrong shape, a non-finite number or a negative duration.
        """
        command = self._checked("velocity_command", velocity_command, 3)
        if not (np.isfinite(duration_s) and duration_s >= 0):
            raise ValueError(f"duration_s = {duration_s} is no time span")
        self._asked_s += Fraction(float(duration_s))
        for _ in range(round(self._asked_s * self.physics_hz) - self._periods):
            if self._periods % self._periods_per_control == 0:
                self._set_rpm(self._controlled(command))
            self._advance()
            self._periods += 1

    def _controlled(self, command: Array) -> Array:
        """Rotor speeds [N, 4] rpm for the next control period."""
        state = self._state
        rpm = self._control.rpm(command, state[:, 0:3], state[:, 3:7], state[:, 7:10], state[:, 10:13])
        if self.powered.all():
            return rpm
        self._control.restart(~self.powered, state[:, 0:3], state[:, 7:10])
        return np.where(self.powered[:, None], rpm, 0.0)

    def step_motors(self, rpm: Array) -> None:
        """Turn the rotors at [N, 4] rpm for one control period, without flight control; for comparisons.

        Speeds beyond what the motors can do are cut off.

        Raises:
            ValueError: wrong shape or a non-finite number.
        """
        self._set_rpm(np.clip(self._checked("rpm", rpm, 4), 0.0, self.quadrotor.max_rpm))
        self._asked_s += Fraction(1, self.control_hz)
        for _ in range(self._periods_per_control):
            self._advance()
            self._periods += 1

    def stop_motors(self, index: int) -> None:
        """The motors of a drone stop until the next `reset`, or until `powered` is set."""
        self.powered[index] = False

    @abstractmethod
    def close(self) -> None:
        """Give the simulator back."""

    @abstractmethod
    def _place(self, position: Array) -> None:
        """Put all drones at rest, level, at position [N, 3] m, and read the state."""

    @abstractmethod
    def _set_rpm(self, rpm: Array) -> None:
        """Set the rotor speeds [N, 4] rpm for the physics periods to come."""

    @abstractmethod
    def _advance(self) -> None:
        """Run one physics period and read the state."""

    def _checked(self, name: str, value: Array, width: int) -> Array:
        array = np.array(value, dtype=np.float64)
        if array.shape != (self.n_agents, width):
            raise ValueError(f"{name} has shape {array.shape}, not {(self.n_agents, width)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds a number that is not finite")
        return array
