"""The gate's promises hold for every command, sane or not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from wild_flights import configuration

from sortie_safety.safety_gate import LANDING_SPEED_MPS, Command, Intervention, Kinematics, SafetyGate, braking_of
from sortie_safety.shield import Others

CONFIG = configuration(8)
LIMITS, DT_S = CONFIG.safety, CONFIG.world.dt_s
LAG_S, ACCEL_MPS2 = CONFIG.world.velocity_time_constant_s, CONFIG.world.max_accel_mps2
CENTRE = np.array([0.0, 0.0, 1.0])
NARROW = [
    (),
    ("safety.z_max_m=0.35",),
    ("safety.geofence=[[-0.4, -5], [0.4, -5], [0.4, 5], [-0.4, 5]]", "safety.z_max_m=1.0"),
    ("safety.shield=orca",),
]

anything = arrays(float, 3, elements=st.floats(allow_nan=True, allow_infinity=True))
places = arrays(float, 3, elements=st.floats(-20, 20))
hostile = arrays(float, 3, elements=st.one_of(st.sampled_from([-1e9, -2.5, 0.0, 2.5, 1e9, math.nan]), st.floats(-5, 5)))


def still(now_s: float, at: np.ndarray = CENTRE) -> Kinematics:
    return Kinematics(now_s, np.asarray(at, float), np.zeros(3))


def setpoint(gate: SafetyGate, now_s: float, command: np.ndarray, at: np.ndarray = CENTRE) -> tuple:
    return gate.setpoint(now_s, Command(now_s, np.asarray(command, float)), still(now_s, at))


@given(commands=st.lists(anything, min_size=1, max_size=10), at=places)
def test_setpoints_are_finite_and_within_the_speed_limit(commands: list[np.ndarray], at: np.ndarray) -> None:
    gate = SafetyGate(CONFIG)
    for tick, command in enumerate(commands):
        velocity, reasons = setpoint(gate, tick * DT_S, command, at)
        assert np.isfinite(velocity).all()
        assert np.linalg.norm(velocity) <= LIMITS.max_speed_mps * (1 + 1e-9)
        if not np.isfinite(command).all():
            assert Intervention.COMMAND_INVALID in reasons


@given(commands=st.lists(hostile, min_size=2, max_size=20))
def test_setpoints_change_no_faster_than_the_acceleration_limit(commands: list[np.ndarray]) -> None:
    gate, last = SafetyGate(CONFIG), None
    for tick, command in enumerate(commands):
        velocity, _ = setpoint(gate, tick * DT_S, command)
        if last is not None:
            assert np.linalg.norm(velocity - last) <= LIMITS.max_accel_mps2 * DT_S * (1 + 1e-9)
        last = velocity


@given(command=arrays(float, 3, elements=st.floats(-0.4, 0.4)))
def test_a_harmless_command_passes_untouched(command: np.ndarray) -> None:
    velocity, reasons = setpoint(SafetyGate(CONFIG), 0.0, command)
    np.testing.assert_array_equal(velocity, command)
    assert reasons == set()


@settings(max_examples=300, deadline=None)
@given(data=st.data(), overrides=st.sampled_from(NARROW), seed=st.integers(0, 2**32 - 1), n=st.integers(0, 12))
def test_no_state_of_the_team_and_no_fence_makes_a_setpoint_that_is_none(
    data: st.DataObject, overrides: tuple[str, ...], seed: int, n: int
) -> None:
    """Places and velocities of any size, drones on top of each other, fences that leave no room."""
    rng = np.random.default_rng(seed)
    own = Kinematics(0.0, data.draw(anything), data.draw(anything)) if seed % 2 else still(0.0, data.draw(places))
    where = own.position[:2] + rng.choice([0.0, 1e-9, 0.3, 1.0, 100.0]) * rng.normal(size=(n, 2))
    others = Others(where, rng.choice([0.1, 3.0, 1e3]) * rng.normal(size=(n, 2)), rng.random(n) < 0.5)
    command = Command(0.0, data.draw(anything))
    velocity, _ = SafetyGate(configuration(8, *overrides)).setpoint(0.0, command, own, others)
    assert np.isfinite(velocity).all()
    assert np.linalg.norm(velocity) <= LIMITS.max_speed_mps * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), command=hostile, period_s=st.sampled_from([0.04, 0.1]))
def test_no_command_leads_out_of_the_fence(data: st.DataObject, command: np.ndarray, period_s: float) -> None:
    """A drone that follows setpoints with its lag and its acceleration stays inside, whatever is commanded."""
    gate = SafetyGate(CONFIG, period_s)
    position = np.array([data.draw(st.floats(-6, 6)), data.draw(st.floats(-6, 6)), data.draw(st.floats(0.2, 3))])
    velocity = np.zeros(3)
    for tick in range(120):
        now_s = tick * period_s
        wanted, _ = gate.setpoint(now_s, Command(now_s, command), Kinematics(now_s, position, velocity))
        for _ in range(4):
            pull = (wanted - velocity) / LAG_S
            pull *= min(1.0, ACCEL_MPS2 / max(float(np.linalg.norm(pull)), 1e-9))
            velocity = velocity + pull * period_s / 4
            position = position + velocity * period_s / 4
            assert gate.fence.distance_m(position) >= -1e-6
        if tick % 10 == 0:
            command = data.draw(hostile)


def test_a_gate_that_was_late_has_drones_fly_so_that_it_may_be_late_again() -> None:
    """In time it forgets, and who is never late is not slowed down."""
    wanted, others = np.array([2.0, 0.0, 0.0]), Others(np.array([[2.0, 0.0]]), np.zeros((1, 2)), np.ones(1, bool))

    def passed(*times_s: float) -> list[float]:
        gate = SafetyGate(CONFIG, 0.04)
        return [gate.setpoint(t, Command(t, wanted), still(t), others)[0][0] for t in times_s]

    punctual = passed(*np.arange(0.0, 2.0, 0.04))
    late = passed(0.0, 0.04, 0.08, *np.arange(0.24, 80.0, 0.04))
    assert late[2] == punctual[2]
    braking = braking_of(CONFIG, 0.04)
    room_m = 2.0 - CONFIG.safety.separation_m
    for pause_s, speed in ((0.0, punctual[-1]), (0.16 - 0.04, late[4])):
        reached_m = speed * (braking.reaction_s + pause_s) + speed**2 / (2 * ACCEL_MPS2)
        assert reached_m == pytest.approx(room_m / 2, rel=0.02)
    assert late[-1] == pytest.approx(punctual[-1], rel=1e-3)


def test_who_is_outside_the_fence_is_brought_back_in() -> None:
    outside, wanted = np.array([6.05, 0.0, 1.0]), [0.5, 0.3, 0.0]
    velocity, reasons = setpoint(SafetyGate(CONFIG), 0.0, wanted, outside)
    assert velocity[0] < -0.2 and velocity[1] == pytest.approx(0.3, rel=0.02)
    assert reasons == {Intervention.GEOFENCE}
    velocity, reasons = setpoint(SafetyGate(CONFIG), 0.0, [-1.5, 0.3, 0.0], outside)
    np.testing.assert_array_equal(velocity, [-1.5, 0.3, 0.0])
    assert reasons == set()


def test_who_would_meet_another_is_turned_aside() -> None:
    others = Others(np.array([[0.8, 0.05]]), np.zeros((1, 2)), np.ones(1, bool))
    velocity, reasons = SafetyGate(CONFIG).setpoint(0.0, Command(0.0, np.array([2.0, 0, 0])), still(0.0), others)
    assert velocity[0] < 0.8 and reasons == {Intervention.SEPARATION}


def test_without_a_shield_nobody_is_turned_aside() -> None:
    gate, others = (
        SafetyGate(configuration(8, "safety.shield=none")),
        Others(CENTRE[None, :2], np.zeros((1, 2)), [True]),
    )
    velocity, reasons = gate.setpoint(0.0, Command(0.0, np.array([2.0, 0.0, 0.0])), still(0.0), others)
    np.testing.assert_array_equal(velocity, [2.0, 0.0, 0.0])
    assert reasons == set()


def test_drones_stop_a_little_before_the_fence() -> None:
    """At the fence itself, a wake or a neighbour might push them over it."""
    for away_m, passes in ((0.3, True), (0.09, False)):
        velocity, _ = setpoint(SafetyGate(CONFIG), 0.0, [0.1, 0.0, 0.0], np.array([6.0 - away_m, 0.0, 1.0]))
        assert bool(velocity[0] > 0) is passes


@pytest.mark.parametrize(
    ("silent_s", "reason", "climb"),
    [
        (LIMITS.stale_after_s, None, 0.0),
        (LIMITS.stale_after_s + 0.01, Intervention.SILENCE_HOVER, 0.0),
        (LIMITS.land_after_s, Intervention.SILENCE_HOVER, 0.0),
        (LIMITS.land_after_s + 0.01, Intervention.SILENCE_LANDING, -LANDING_SPEED_MPS),
    ],
)
def test_silence_leads_to_hover_and_then_to_landing(silent_s: float, reason: Intervention | None, climb: float) -> None:
    now_s, wanted = 50.0, np.array([0.4, 0.0, 0.0])
    velocity, reasons = SafetyGate(CONFIG).setpoint(now_s, Command(now_s - silent_s, wanted), still(now_s))
    assert reasons == ({reason} if reason else set())
    np.testing.assert_array_equal(velocity, [0.0, 0.0, climb] if reason else wanted)


def test_landing_goes_on_below_the_fence() -> None:
    low = np.array([0.0, 0.0, LIMITS.z_min_m / 2])
    velocity, _ = SafetyGate(CONFIG).setpoint(50.0, None, still(50.0, low))
    assert velocity[2] == -LANDING_SPEED_MPS


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (None, Intervention.ODOMETRY_INVALID),
        (still(50.0, np.array([0.0, math.nan, 1.0])), Intervention.ODOMETRY_INVALID),
        (still(50.0, np.array([0.0, 1e9, 1.0])), Intervention.ODOMETRY_INVALID),
        (Kinematics(50.0, CENTRE, np.array([math.inf, 0.0, 0.0])), Intervention.ODOMETRY_INVALID),
        (still(50.0 - LIMITS.stale_after_s - 0.01), Intervention.ODOMETRY_STALE),
    ],
)
def test_who_does_not_know_where_it_is_hovers(own: Kinematics | None, reason: Intervention) -> None:
    velocity, reasons = SafetyGate(CONFIG).setpoint(50.0, Command(50.0, np.array([0.4, 0.0, 0.0])), own)
    np.testing.assert_array_equal(velocity, np.zeros(3))
    assert reasons == {reason}
