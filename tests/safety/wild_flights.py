"""Flights in PyBullet whose policies are drawn anew every second: broken, hostile, silent, honest."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.config import Config, load_config
from sortie_core.layout import sample_layout
from sortie_safety.safety_gate import LANDING_SPEED_MPS, Command, Intervention, Kinematics, SafetyGate
from sortie_safety.shield import Others
from sortie_sim.mission_world import climb_rate
from sortie_sim.motion import make_motion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "delivery.yaml"
POLICIES = (
    "nan", "infinity", "hurl", "nearest", "neighbour", "fence", "centre", "stale", "silence", "honest",
)  # fmt: skip
_LOOK_S = 0.02
_LANDED_M = 0.05
_HURRY = 10.0
"""Hostile commands are so many times the speed limit."""


@dataclass
class Flown:
    """What has become of a flight.

    Attributes:
        apart_m: least distance of two centres.
        inside_m: least distance to the fence of drones that are not landing.
        fastest_mps: largest setpoint; nan if one was not finite.
        n_cases: how many policies were drawn.
        n_landed: how many drones were landed for silence.
        reasons: interventions.
    """

    apart_m: float = math.inf
    inside_m: float = math.inf
    fastest_mps: float = 0.0
    n_cases: int = 0
    n_landed: int = 0
    reasons: Counter[Intervention] = field(default_factory=Counter)


@cache
def configuration(n_agents: int, *overrides: str) -> Config:
    return load_config(CONFIG_FILE, [f"team.n_agents={n_agents}", *overrides])


class WildFlight:
    """A team whose commands go through the gates, as in a simulated mission or as in a flight.

    Args:
        config: whose world.backend flies.
        seed: of the places and the policies.
        period_s: the gates work once in this time; world.dt_s is that of a simulated mission, where altitude is held
            behind the gate and drones on the ground are avoided too. In a flight it is held before the gate.
        policies: to draw from.
    """

    def __init__(self, config: Config, seed: int, period_s: float, policies: Sequence[str] = POLICIES) -> None:
        self.config, self._period_s, self._policies = config, period_s, policies
        self._simulated = period_s == config.world.dt_s
        self._flat, self._n = config.task.dimensions == 2, config.team.n_agents
        self._rng = np.random.default_rng(seed)
        self._floor_m = config.world.altitude_m + (0.0 if self._flat else config.arena_half_m)
        place = np.zeros((self._n, 3))
        place[:, : config.task.dimensions] = sample_layout(config, [seed]).position[0]
        place[:, 2] += self._floor_m
        self.motion = make_motion(config, self._n)
        self.motion.reset(place)
        self.gates = [SafetyGate(config, period_s) for _ in range(self._n)]
        self._commands = [Command(0.0, np.zeros(3)) for _ in range(self._n)]
        self._policy, self._until_s = ["honest"] * self._n, np.zeros(self._n)
        self._aim, self._target = np.zeros((self._n, 3)), np.zeros(self._n, int)
        self.landing = np.zeros(self._n, bool)
        self.flown = Flown()

    def run(self, seconds: float) -> Flown:
        """Fly, and close the world."""
        try:
            for tick in range(round(seconds / self._period_s)):
                self._gate(tick * self._period_s)
        finally:
            self.motion.close()
        return self.flown

    def _gate(self, now_s: float) -> None:
        position, velocity = self.motion.position, self.motion.velocity
        setpoints = np.zeros((self._n, 3))
        airborne = position[:, 2] > _LANDED_M
        seen = airborne | self.landing | self._simulated
        lost = self.landing.copy()  # as all gates know it at the beginning of a tick
        for k in range(self._n):
            self._order(k, now_s, position)
            command = self._commands[k]
            self.landing[k] |= now_s - command.time_s > self.config.safety.land_after_s
            others = np.flatnonzero(seen & (np.arange(self._n) != k))
            axes = self.config.task.dimensions
            near = Others(position[others, :axes], velocity[others, :axes], ~lost[others])
            if self._flat and not self._simulated:
                climb = climb_rate(self._floor_m, position[k, 2:])
                command = Command(command.time_s, np.append(command.velocity[:2], climb))
            own = Kinematics(now_s, position[k], velocity[k])
            setpoints[k], reasons = self.gates[k].setpoint(now_s, command, own, near)
            self.flown.reasons.update(reasons)
        speed = np.linalg.norm(setpoints, axis=1)
        self.flown.fastest_mps = float(np.maximum(self.flown.fastest_mps, speed.max()))
        if self._flat and self._simulated:
            setpoints[:, 2] = climb_rate(self._floor_m, position[:, 2])
        setpoints[self.landing] = [0.0, 0.0, -LANDING_SPEED_MPS]
        for k in np.flatnonzero(self.landing & ~airborne):
            setpoints[k] = 0.0
            self.motion.stop_motors(int(k))
        self.flown.n_landed = int(self.landing.sum())
        for _ in range(round(self._period_s / _LOOK_S)):
            self.motion.step(setpoints, _LOOK_S)
            self._look()

    def _look(self) -> None:
        position = self.motion.position
        apart = np.linalg.norm(position[:, None] - position, axis=2)
        inside = [self.gates[0].fence.distance_m(place) for place in position[~self.landing]]
        self.flown.apart_m = min(self.flown.apart_m, float(apart[~np.eye(self._n, dtype=bool)].min()))
        self.flown.inside_m = min(self.flown.inside_m, *inside, math.inf)

    def _order(self, k: int, now_s: float, position: Array) -> None:
        """What the policy of a drone commands."""
        rng, config = self._rng, self.config
        if now_s >= self._until_s[k]:
            self._policy[k], self._until_s[k] = str(rng.choice(self._policies)), now_s + rng.uniform(0.5, 1.0)
            self._aim[k], self._target[k] = rng.normal(size=3), (k + rng.integers(1, self._n)) % self._n
            self.flown.n_cases += 1
        policy, aim, hurry = self._policy[k], self._aim[k], _HURRY * config.safety.max_speed_mps
        centre = np.array([0.0, 0.0, self._floor_m])
        away = np.linalg.norm(position - position[k], axis=1)
        away[k] = math.inf
        match policy:
            case "silence":
                return
            case "nan" | "infinity":
                bad = math.nan if policy == "nan" else math.copysign(math.inf, aim[0])
                velocity = np.where(aim > aim.min(), aim, bad)
            case "nearest":
                velocity = self._toward(position[int(away.argmin())] - position[k], hurry)
            case "neighbour" | "stale":
                velocity = self._toward(position[self._target[k]] - position[k], hurry)
            case "fence":
                wall = int(np.abs(aim[: config.task.dimensions]).argmax())
                velocity = hurry * np.sign(aim) * (np.arange(3) == wall)
            case "centre":
                velocity = self._toward(centre - position[k], hurry)
            case "honest":
                goal = centre + config.arena_half_m * np.tanh(aim) * [1.0, 1.0, 0.0 if self._flat else 1.0]
                way = 1.5 * (goal - position[k])
                velocity = way * min(1.0, config.world.max_speed_mps / max(float(np.linalg.norm(way)), 1e-9))
            case _:
                velocity = self._toward(aim, hurry)
        velocity[2:] = 0.0 if self._flat else velocity[2:]
        age_s = config.safety.stale_after_s * rng.uniform(1.1, 4.0) if policy == "stale" else 0.0
        self._commands[k] = Command(now_s - age_s, velocity)

    @staticmethod
    def _toward(way: Array, speed_mps: float) -> Array:
        return way * (speed_mps / max(float(np.linalg.norm(way)), 1e-9))
