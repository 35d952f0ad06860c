"""Speed of the flight simulation, beside gym-pybullet-drones where it is installed."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_core.config import Config, UserError, load_config
from sortie_core.shipped import shipped
from sortie_sim.gym_motion import load_aviaries, quiet
from sortie_sim.pybullet_motion import PyBulletMotion

if TYPE_CHECKING:
    from collections.abc import Callable

N_DRONES = 10
SLICE_S = 0.25
CONFIG = shipped("configs/delivery.yaml")


def run(seconds: float = 10.0, config: Config | None = None) -> dict[str, Any]:
    """Control steps per second of ten drones under velocity commands with every effect on.

    Slices of a quarter of a second alternate between this project's motion and gym-pybullet-drones' `VelocityAviary`,
    so that both see the same load of the machine; medians over slices are reported, and the median of the paired
    ratios. Each control step is five physics steps at the shipped rates, in both.

    Args:
        seconds: wall-clock time to measure for, both together.
        config: rates and limits; default the shipped configs/delivery.yaml. Effects are always all on.

    Returns:
        ``drones``, ``control_steps_per_s``, ``slices``, and either ``peer_control_steps_per_s`` and ``ratio`` or
        ``peer``, a sentence that says why it was not measured.

    Raises:
        UserError: pybullet is not installed or the configuration cannot be read.
    """
    config = config or load_config(CONFIG)
    effects = [f"world.effects.{name}=true" for name in ("drag", "ground_effect", "downwash")]
    config = config.override(["world.backend=pybullet", *effects])
    ours, close_ours = _our_stepper(config)
    closers = [close_ours]
    rates: dict[str, list[float]] = {"ours": []}
    steppers = {"ours": ours}
    absent = ""
    try:
        steppers["peer"], close_peer = _peer_stepper(config)
        closers.append(close_peer)
        rates["peer"] = []
    except UserError as error:
        absent = str(error)
    try:
        for stepper in steppers.values():
            _rate(stepper, SLICE_S)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or not rates["ours"]:
            for name, stepper in steppers.items():
                rates[name].append(_rate(stepper, SLICE_S))
    finally:
        for close in closers:
            close()
    report: dict[str, Any] = {
        "drones": N_DRONES,
        "control_steps_per_s": median(rates["ours"]),
        "slices": len(rates["ours"]),
    }
    if absent:
        return report | {"peer": absent}
    ratio = median(mine / other for mine, other in zip(rates["ours"], rates["peer"], strict=True))
    return report | {"peer_control_steps_per_s": median(rates["peer"]), "ratio": ratio}


def _rate(step: Callable[[], None], seconds: float) -> float:
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step()
        count += 1
    return count / elapsed


def _start() -> np.ndarray:
    """Ten places on a grid, each higher than the last, so that every wake falls on somebody."""
    index = np.arange(N_DRONES)
    return np.stack([index % 4, index // 4, 1 + 0.4 * index], axis=1).astype(np.float64)


def _our_stepper(config: Config) -> tuple[Callable[[], None], Callable[[], None]]:
    motion = PyBulletMotion(config, N_DRONES)
    motion.reset(_start())
    period_s = 1.0 / config.world.control_hz
    command = np.tile([0.2, 0.1, 0.0], (N_DRONES, 1))
    return lambda: motion.step(command, period_s), motion.close


def _peer_stepper(config: Config) -> tuple[Callable[[], None], Callable[[], None]]:
    envs, enums = load_aviaries()
    with quiet():
        aviary = envs.VelocityAviary(
            drone_model=enums.DroneModel.CF2X,
            num_drones=N_DRONES,
            initial_xyzs=_start(),
            physics=enums.Physics.PYB_GND_DRAG_DW,
            pyb_freq=config.world.physics_hz,
            ctrl_freq=config.world.control_hz,
        )
        aviary.reset()
    # Direction and share of the aviary's own largest speed, 0.25 m/s.
    action = np.tile([0.2, 0.1, 0.0, 0.9], (N_DRONES, 1))
    return lambda: aviary.step(action), aviary.close
