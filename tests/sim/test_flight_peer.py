"""The flight simulation against gym-pybullet-drones 2.1, where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sortie_core.config import Config, UserError, load_config
from sortie_sim.flight_benchmark import run
from sortie_sim.gym_motion import INSTALL, GymMotion
from sortie_sim.pybullet_motion import PyBulletMotion, load_pybullet

load_pybullet()
pytest.importorskip(
    "gym_pybullet_drones",
    reason=f"gym-pybullet-drones is not on PyPI and an optional peer; to run this: {INSTALL}",
)

PROJECT = Path(__file__).parents[2]
# The combinations that the aviary has: drag, ground effect, downwash.
Pair = Callable[["Switches", np.ndarray], tuple[PyBulletMotion, "GymMotion"]]
Switches = tuple[bool, bool, bool]
EFFECTS = [
    (False, False, False),
    (True, False, False),
    (False, True, False),
    (False, False, True),
    (True, True, True),
]
# Two pairs one above the other, and one drone close to the floor.
START = np.array([[0.0, 0.0, 1.8], [0.0, 0.1, 3.0], [4.0, 0.0, 1.9], [4.0, 0.2, 3.3], [8.0, 0.0, 0.12]])


def _config(effects: Switches) -> Config:
    names = ("drag", "ground_effect", "downwash")
    switches = [f"world.effects.{name}={str(on).lower()}" for name, on in zip(names, effects, strict=True)]
    return load_config(PROJECT / "configs" / "delivery.yaml", ["world.backend=pybullet", *switches])


@pytest.fixture
def pair(request: pytest.FixtureRequest):
    """Open our motion and the aviary at the same places, the aviary with its own downwash."""

    def start(effects: Switches, position: np.ndarray) -> tuple[PyBulletMotion, GymMotion]:
        config = _config(effects)
        ours = PyBulletMotion(config, len(position))
        peer = GymMotion(config, len(position), limit_downwash=False)
        for motion in (ours, peer):
            request.addfinalizer(motion.close)
            motion.reset(position)
        return ours, peer

    return start


@pytest.mark.parametrize("effects", EFFECTS)
def test_the_same_motor_commands_give_the_same_flight(pair: Pair, effects: Switches):
    """Within 1 cm over 2 s of uneven rotor speeds, at speeds up to the mission's 2 m/s."""
    ours, peer = pair(effects, START)
    phase = np.random.default_rng(7).uniform(0, 2 * np.pi, (len(START), 4))
    climb = np.full((5, 1), 0.003)
    if effects[2]:
        climb[[0, 2], 0] = 0.045, 0.015
    travelled = 0.0
    for period in range(96):
        rpm = ours.quadrotor.hover_rpm * (1 + 0.0007 * np.sin(period / 6 + phase) + climb)
        ours.step_motors(rpm)
        peer.step_motors(rpm)
        assert np.abs(ours.position - peer.position).max() < 0.01
        travelled = max(travelled, np.abs(ours.position - START).max())
        # Nearer below another drone our downwash is limited and the aviary's is not.
        assert ours.position[[1, 3], 2].min() - ours.position[[0, 2], 2].max() > ours.quadrotor.downwash_core_m
    assert np.linalg.norm(ours.velocity, axis=1).max() < 2.5
    assert travelled > 0.2


@pytest.mark.parametrize("effects", EFFECTS)
def test_the_same_velocity_commands_give_the_same_flight(pair: Pair, effects: Switches):
    """Within 5 cm over 5 s under flight control, weaving in and out of the wakes."""
    ours, peer = pair(effects, START)
    for tick in range(50):
        turn = np.sign(np.sin(tick / 8))
        command = turn * np.array([[1.5, 0, 0], [0, 1, 0], [-1.5, -1, 0], [1, 1, 0], [0, 2, 0.0]])
        ours.step(command, 0.1)
        peer.step(command, 0.1)
        assert np.abs(ours.position - peer.position).max() < 0.05
    assert ours.time_s == peer.time_s == 5.0


def test_each_effect_shows_in_the_aviary_as_in_ours(pair: Pair):
    """The comparison is no comparison of nothing: lost lift below a drone and lift near the floor agree within 2 %."""
    start = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0], [2.0, 0.0, 0.1]])
    ours, peer = pair((True, True, True), start)
    for _ in range(12):
        hover = np.full((3, 4), ours.quadrotor.hover_rpm)
        ours.step_motors(hover)
        peer.step_motors(hover)
    assert peer.velocity[0, 2] < -0.3
    assert peer.velocity[2, 2] > 0.03
    np.testing.assert_allclose(ours.velocity[[0, 2], 2], peer.velocity[[0, 2], 2], rtol=0.02)


def test_a_mission_at_one_altitude_flies_on_the_aviary():
    """With its own downwash the aviary throws such a team apart; with the limit it flies, and resets to the same."""
    config = _config((True, True, True))
    index = np.arange(8)
    start = np.stack([index % 4 - 1.5, index // 4 - 0.5, np.ones(8)], axis=1)
    command = np.stack([np.cos(index), np.sin(index), np.zeros(8)], axis=1)
    flights = []
    motion = GymMotion(config, 8)
    try:
        for _ in range(2):
            motion.reset(start)
            for _ in range(20):
                motion.step(command, 0.1)
            flights.append(motion.position)
    finally:
        motion.close()
        motion.close()
    assert np.array_equal(*flights)
    np.testing.assert_allclose(motion.velocity, command, atol=0.1)
    assert np.abs(motion.position[:, 2] - 1.0).max() < 0.05


def test_effects_that_the_aviary_does_not_have_are_an_error():
    with pytest.raises(UserError, match=r"world\.effects"):
        GymMotion(_config((True, False, True)), 2)


def test_control_is_at_least_five_times_as_fast():
    report = run(2.0)
    assert report["drones"] == 10
    assert report["ratio"] > 5
