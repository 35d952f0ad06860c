"""What one drone's gate costs a tick, and its shield in it, on one core."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_core.config import load_config
from sortie_core.shipped import shipped
from sortie_safety.safety_gate import Command, Kinematics, SafetyGate
from sortie_safety.shield import Others

if TYPE_CHECKING:
    from sortie_core.config import Config

_CONFIG = shipped("configs/delivery.yaml")
_TEAMS = (8, 15)
_TICKS = 40
_LATTICE_M = 0.9


def run(seconds: float) -> dict[str, Any]:
    """Time the gates of teams that all fly for the middle, near enough for every shield to have something to do.

    Returns:
        shield_ms and gate_ms of 15 drones under the shield of the main configuration, ms per drone and tick, the best
        of several rounds; and ``rows``, one per team and shield.
    """
    rows: list[dict[str, Any]] = []
    cases = [(n_agents, shield) for n_agents in _TEAMS for shield in ("orca", "barrier")]
    for n_agents, shield in cases:
        with_ms, without_ms = (
            _gate_ms(load_config(_CONFIG, [f"team.n_agents={n_agents}", f"safety.shield={name}"]), seconds / 8)
            for name in (shield, "none")
        )
        figures = {"shield_ms": with_ms - without_ms, "gate_ms": with_ms}
        rows.append({"agents": n_agents, "shield": shield, **figures})
    return {key: rows[-1][key] for key in ("shield_ms", "gate_ms")} | {"rows": rows}


def _gate_ms(config: Config, seconds: float) -> float:
    """Least mean time of a round."""
    best_s, until_s = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until_s or best_s == np.inf:
        best_s = min(best_s, _round_s(config))
    return 1e3 * best_s


def _round_s(config: Config) -> float:
    """Mean time of a call, s."""
    rng, n_agents, axes = np.random.default_rng(0), config.team.n_agents, config.task.dimensions
    lattice = np.stack(np.meshgrid(np.arange(-2, 3), np.arange(-2, 3)), axis=-1).reshape(-1, 2)
    gates = [SafetyGate(config) for _ in range(n_agents)]
    spent_s = 0.0
    for tick in range(_TICKS):
        now_s = tick * config.world.dt_s
        place = np.full((n_agents, 3), config.world.altitude_m)
        place[:, :2] = _LATTICE_M * rng.permutation(lattice)[:n_agents] + rng.uniform(-0.1, 0.1, (n_agents, 2))
        speed = np.append(rng.normal(0.0, 0.5, (n_agents, 2)), np.zeros((n_agents, 1)), axis=1)
        known = [
            (
                Command(now_s, -place[k] * (1.0, 1.0, 0.0)),
                Kinematics(now_s, place[k], speed[k]),
                Others(place[others, :axes], speed[others, :axes], np.ones(n_agents - 1, bool)),
            )
            for k in range(n_agents)
            for others in [np.arange(n_agents) != k]
        ]
        began_s = time.process_time()  # of this process, whoever else uses the core
        for gate, (command, own, others) in zip(gates, known, strict=True):
            gate.setpoint(now_s, command, own, others)
        spent_s += time.process_time() - began_s
    return spent_s / (_TICKS * n_agents)
