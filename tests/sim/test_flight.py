"""The quadrotor flight simulation: physics, aerodynamic effects, flight control, clock."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sortie_core.config import Config, UserError, load_config
from sortie_sim.flight_control import FlightControl, rotation_matrix
from sortie_sim.motion import make_motion
from sortie_sim.pybullet_motion import MODEL, PyBulletMotion
from sortie_sim.quadrotor import CRAZYFLIE2

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Fly = Callable[..., PyBulletMotion]
PROJECT = Path(__file__).parents[2]
NO_EFFECTS = {"drag": False, "ground_effect": False, "downwash": False}


def _config(*overrides: str, **effects: bool) -> Config:
    switches = [f"world.effects.{name}={str(on).lower()}" for name, on in effects.items()]
    return load_config(PROJECT / "configs" / "delivery.yaml", ["world.backend=pybullet", *switches, *overrides])


def _grid(n: int) -> np.ndarray:
    index = np.arange(n)
    return np.stack([index % 4 - 1.5, index // 4 - 1.0, np.ones(n)], axis=1)


@pytest.fixture
def fly(request: pytest.FixtureRequest):
    """Open a motion with the drones at given places; it is closed after the test."""

    def start(position: ArrayLike, **effects: bool) -> PyBulletMotion:
        places = np.array(position, dtype=float)
        motion = PyBulletMotion(_config(**effects), len(places))
        request.addfinalizer(motion.close)
        motion.reset(places)
        return motion

    return start


def _hover(motion: PyBulletMotion, factor: float = 1.0) -> np.ndarray:
    return np.full((motion.n_agents, 4), motion.quadrotor.hover_rpm * factor)


def test_hover_holds_the_place_for_twenty_seconds(fly: Fly):
    start = _grid(10)
    motion = fly(start)
    for _ in range(200):
        motion.step(np.zeros((10, 3)), 0.1)
        assert np.abs(motion.position - start).max() < 0.005
        assert np.abs(motion.velocity).max() < 0.01


@pytest.mark.parametrize(
    ("axis", "speed", "fastest_s", "slowest_s"),
    [(0, 2.0, 0.31, 0.39), (1, -2.0, 0.31, 0.39), (0, 0.5, 0.15, 0.25), (2, 0.5, 0.15, 0.25), (2, -1.0, 0.15, 0.27)],
)
def test_a_velocity_step_is_followed_without_overshoot(
    fly: Fly, axis: int, speed: float, fastest_s: float, slowest_s: float
):
    """63 % of the step: 2 m/s at the limit of 4 m/s^2 cannot take less than 0.316 s."""
    motion = fly([[0.0, 0.0, 5.0]])
    command = np.zeros((1, 3))
    command[0, axis] = speed
    along = []
    for _ in range(3 * 240):
        motion.step(command, 1 / 240)
        along.append(motion.velocity[0, axis] / speed)
    along = np.array(along)
    assert fastest_s < (np.argmax(along > 0.632) + 1) / 240 < slowest_s
    assert along.max() < 1.03
    assert along[-1] == pytest.approx(1.0, abs=0.01)
    assert np.abs(np.diff(along)).max() * 240 * abs(speed) < 1.1 * 4.0
    across = np.delete(motion.velocity[0], axis)
    assert np.abs(across).max() < 0.01


def test_altitude_holds_while_moving(fly: Fly):
    """Twenty seconds of changing 2 m/s commands in the plane move no drone up or down by 5 cm."""
    rng = np.random.default_rng(3)
    motion = fly(_grid(8) * [3, 3, 1])
    lowest, highest = 1.0, 1.0
    for tick in range(200):
        if tick % 5 == 0:
            heading = rng.uniform(0, 2 * np.pi, 8)
            command = 2.0 * np.stack([np.cos(heading), np.sin(heading), np.zeros(8)], axis=1)
        motion.step(command, 0.1)
        lowest, highest = min(lowest, motion.position[:, 2].min()), max(highest, motion.position[:, 2].max())
    assert 0.95 < lowest
    assert highest < 1.05


def test_downwash_pushes_the_lower_drone_down_and_lets_it_return(fly: Fly):
    stack = [[0.0, 0.0, 1.0], [0.0, 0.0, 1.8]]
    motion, still = fly(stack), fly(stack, downwash=False)
    for _ in range(20):
        motion.step(np.zeros((2, 3)), 0.1)
        still.step(np.zeros((2, 3)), 0.1)
    assert motion.position[0, 2] < 0.9
    assert motion.position[1, 2] == pytest.approx(1.8, abs=0.01)
    assert still.position[0, 2] == pytest.approx(1.0, abs=0.01)
    away = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    for _ in range(40):
        motion.step(away, 0.1)
    assert motion.position[0, 2] == pytest.approx(1.0, abs=0.02)


def test_ground_effect_lifts(fly: Fly):
    """Hover speed close to the floor climbs with the effect and holds without it."""
    low = [[0.0, 0.0, 0.1]]
    lifted, level = fly(low), fly(low, ground_effect=False)
    for _ in range(48):
        lifted.step_motors(_hover(lifted))
        level.step_motors(_hover(level))
    assert lifted.position[0, 2] > 0.12
    assert level.position[0, 2] == pytest.approx(0.1, abs=1e-6)


def test_rotor_drag_slows_a_fall(fly: Fly):
    high = [[0.0, 0.0, 20.0]]
    slowed, free = fly(high), fly(high, drag=False)
    for _ in range(48):
        slowed.step_motors(_hover(slowed, 0.9))
        free.step_motors(_hover(free, 0.9))
    assert free.velocity[0, 2] < slowed.velocity[0, 2] - 0.05


def test_without_effects_hover_speed_is_rest(fly: Fly):
    """Stacked and near the floor, nothing but thrust and weight acts once every effect is off."""
    motion = fly([[0.0, 0.0, 0.05], [0.0, 0.0, 0.6]], **NO_EFFECTS)
    for _ in range(48):
        motion.step_motors(_hover(motion))
    assert np.abs(motion.velocity).max() < 1e-9


def test_motor_commands_move_the_body_as_newton_and_euler_say(fly: Fly):
    """One second of uneven rotor speeds against the equations of motion written out, tilt and yaw included."""
    motion = fly([[0.0, 0.0, 5.0]], **NO_EFFECTS)
    rpm = motion.quadrotor.hover_rpm * np.array([[1.0010, 1.0002, 0.9992, 1.0008]]) * 1.01
    turned = rpm[:, ::-1]
    place, velocity, rate = np.array([0.0, 0.0, 5.0]), np.zeros(3), np.zeros(3)
    attitude, inertia = Rotation.identity(), np.diag([1.4e-5, 1.4e-5, 2.17e-5])
    rotors = np.array([[0.028, -0.028, 0], [-0.028, -0.028, 0], [-0.028, 0.028, 0], [0.028, 0.028, 0]])
    substeps = 50
    for period in range(48):
        speeds = rpm if period % 16 < 8 else turned
        motion.step_motors(speeds)
        thrust = 3.16e-10 * speeds[0] ** 2
        torque = np.cross(rotors, thrust[:, None] * [0, 0, 1]).sum(axis=0)
        torque[2] += 7.94e-12 * (speeds[0] ** 2 * [-1, 1, -1, 1]).sum()
        for _ in range(5 * substeps):
            dt = 1 / 240 / substeps
            accel = attitude.apply([0, 0, thrust.sum() / 0.027]) - [0, 0, 9.8] - 0.04 * velocity
            velocity = velocity + dt * accel
            rate = rate + dt * (np.linalg.solve(inertia, torque - np.cross(rate, inertia @ rate)) - 0.04 * rate)
            place = place + dt * velocity
            attitude = attitude * Rotation.from_rotvec(dt * rate)
    assert attitude.magnitude() > 0.1
    assert np.linalg.norm(velocity[:2]) > 0.05
    np.testing.assert_allclose(motion.position[0], place, atol=2e-3)
    assert (Rotation.from_quat(motion.attitude[0]) * attitude.inv()).magnitude() < 5e-3


def test_two_flights_are_bitwise_equal(fly: Fly):
    """Through collisions, on two instances and after a reset of one of them."""
    start = np.array([[0.0, 0.0, 1.0], [1.0, 0.01, 1.0], [0.0, 1.0, 0.3], [0.02, 1.0, 1.0]])
    command = np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.5, -0.5], [0.0, 0.0, -0.4]])

    def record(motion: PyBulletMotion) -> np.ndarray:
        states = []
        for _ in range(25):
            motion.step(command, 0.1)
            states.append(np.hstack([motion.position, motion.velocity, motion.attitude, motion.angular_velocity]))
        return np.array(states)

    first = fly(start)
    flight = record(first)
    again = record(fly(start))
    first.reset(start)
    assert np.array_equal(flight, again)
    assert np.array_equal(flight, record(first))


def test_a_collision_does_not_throw_drones_away(fly: Fly):
    """Head on at 2 m/s each, and started inside one another: speeds stay credible and the team hovers again."""
    motion = fly([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 3.0, 2.0], [0.05, 3.0, 2.0]])
    command = np.zeros((4, 3))
    command[0, 0], command[1, 0] = 2.0, -2.0
    touched = False
    for tick in range(80):
        motion.step(command if tick < 10 else np.zeros((4, 3)), 0.1)
        assert np.abs(motion.velocity).max() < 4.0
        touched |= bool(np.abs(motion.angular_velocity).max() > 5.0)
    assert touched
    assert np.abs(motion.velocity).max() < 0.05
    assert np.abs(motion.position[:, 2] - 2.0).max() < 0.6


def test_the_clock_does_not_drift(fly: Fly):
    """0.1 s is 4.8 control periods: physics runs 24 periods a tick, control at every fifth period, for ever."""
    motion = fly([[0.0, 0.0, 1.0]])
    calls = []
    control = motion._control.rpm
    motion._control.rpm = lambda *state: calls.append(motion.time_s) or control(*state)
    for tick in range(1, 301):
        motion.step(np.zeros((1, 3)), 0.1)
        assert motion.time_s == pytest.approx(tick * 0.1, abs=1e-12)
    assert motion.time_s == 30.0
    np.testing.assert_allclose(calls, np.arange(30 * 48) / 48, atol=1e-12)


def test_the_clock_rounds_to_the_nearest_period_without_adding_up(fly: Fly):
    motion = fly([[0.0, 0.0, 1.0]])
    for tick in range(1, 701):
        motion.step(np.zeros((1, 3)), 0.007)
        assert abs(motion.time_s - tick * 0.007) <= 0.5 / 240 + 1e-12


def test_control_of_n_drones_is_n_times_control_of_one():
    rng = np.random.default_rng(5)
    team = FlightControl(CRAZYFLIE2, 7, 48, 4.0)
    singles = [FlightControl(CRAZYFLIE2, 1, 48, 4.0) for _ in range(7)]
    start = rng.uniform(-3, 3, (7, 3))
    team.reset(start)
    for index, single in enumerate(singles):
        single.reset(start[index : index + 1])
    for _ in range(50):
        state = (
            rng.uniform(-2, 2, (7, 3)),
            start + rng.uniform(-0.5, 0.5, (7, 3)),
            Rotation.random(7, rng).as_quat(),
            rng.uniform(-2, 2, (7, 3)),
            rng.uniform(-5, 5, (7, 3)),
        )
        together = team.rpm(*state)
        apart = np.vstack([one.rpm(*(part[i : i + 1] for part in state)) for i, one in enumerate(singles)])
        np.testing.assert_allclose(together, apart, rtol=1e-9, atol=1e-6)
        assert together.min() >= 0
        assert together.max() <= CRAZYFLIE2.max_rpm * (1 + 1e-12)


def test_control_does_not_depend_on_the_sign_of_the_quaternion():
    attitude = Rotation.from_euler("xy", [0.4, -0.3]).as_quat()[None]
    still = np.zeros((1, 3))
    speeds = [
        FlightControl(CRAZYFLIE2, 1, 48, 4.0).rpm(still, still, sign * attitude, still, still) for sign in (1, -1)
    ]
    np.testing.assert_allclose(*speeds, rtol=1e-12)
    assert np.ptp(speeds[0]) > 1000


def test_rotation_matrix_is_that_of_scipy():
    rotation = Rotation.random(20, np.random.default_rng(1))
    np.testing.assert_allclose(rotation_matrix(rotation.as_quat()), rotation.as_matrix(), atol=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_command_that_is_no_number_is_refused(fly: Fly, bad: float):
    motion = fly(_grid(2))
    command = np.zeros((2, 3))
    command[1, 2] = bad
    with pytest.raises(ValueError, match="velocity_command"):
        motion.step(command, 0.1)
    with pytest.raises(ValueError, match="position"):
        motion.reset(command)
    with pytest.raises(ValueError, match="duration_s"):
        motion.step(np.zeros((2, 3)), bad)
    with pytest.raises(ValueError, match="shape"):
        motion.step(np.zeros((3, 3)), 0.1)


def test_the_model_file_holds_the_published_parameters():
    link = ElementTree.parse(MODEL).getroot().find("link")
    inertial = link.find("inertial")
    assert float(inertial.find("mass").get("value")) == CRAZYFLIE2.mass_kg
    inertia = inertial.find("inertia")
    assert tuple(float(inertia.get(key)) for key in ("ixx", "iyy", "izz")) == CRAZYFLIE2.inertia_kgm2
    discs = [visual for visual in link.findall("visual") if visual.find("geometry/cylinder") is not None]
    places = tuple(tuple(float(x) for x in disc.find("origin").get("xyz").split()[:2]) for disc in discs)
    assert places == CRAZYFLIE2.rotor_xy_m
    assert {float(d.find("geometry/cylinder").get("radius")) for d in discs} == {CRAZYFLIE2.rotor_radius_m}


def test_the_terminal_stays_quiet():
    """Neither PyBullet's banner nor anything else is printed when a motion is made, and closing twice is harmless."""
    script = (
        "from sortie_core.config import load_config; from sortie_sim.motion import make_motion;"
        f"motion = make_motion(load_config({str(PROJECT / 'configs' / 'delivery.yaml')!r},"
        " ['world.backend=pybullet']), 2); motion.step([[0, 0, 0], [0, 0, 0]], 0.1); motion.close(); motion.close()"
    )
    path = {"PYTHONPATH": f"{PROJECT / 'sim'}:{PROJECT / 'learning'}", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=path, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_simulator_is_one_line_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gym_pybullet_drones", None)
    with pytest.raises(UserError, match=r"pip install .*git\+https.*gym-pybullet-drones") as error:
        make_motion(_config("world.backend=gym-pybullet-drones"), 2)
    assert "\n" not in str(error.value)
