"""The gate's promises hold for every command, sane or not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sortie_core.config import load_config
from sortie_flight.safety_gate import LANDING_SPEED_MPS, Fence, Intervention, SafetyGate, Stamped

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
CONFIG = load_config(YAML)
LIMITS, DT_S = CONFIG.safety, CONFIG.world.dt_s
CENTRE = np.array([0.0, 0.0, 1.0])

anything = arrays(float, 3, elements=st.floats(allow_nan=True, allow_infinity=True))
places = arrays(float, 3, elements=st.floats(-20, 20))
hostile = arrays(float, 3, elements=st.one_of(st.sampled_from([-1e9, -2.5, 0.0, 2.5, 1e9, math.nan]), st.floats(-5, 5)))


def setpoint(gate: SafetyGate, now_s: float, command: np.ndarray, at: np.ndarray = CENTRE) -> tuple:
    return gate.setpoint(now_s, Stamped(now_s, np.asarray(command, float)), Stamped(now_s, at))


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


@settings(max_examples=60)
@given(data=st.data(), command=hostile)
def test_no_command_leads_out_of_the_fence(data: st.DataObject, command: np.ndarray) -> None:
    """A drone that follows setpoints within its acceleration stays inside, whatever is commanded, from rest."""
    fence, gate = Fence.of(CONFIG), SafetyGate(CONFIG)
    position = np.array([data.draw(st.floats(low, high)) for low, high in zip(fence.low, fence.high, strict=True)])
    velocity = np.zeros(3)
    for tick in range(120):
        wanted, _ = setpoint(gate, tick * DT_S, command, position)
        change = wanted - velocity
        change = np.clip(change, -CONFIG.world.max_accel_mps2 * DT_S, CONFIG.world.max_accel_mps2 * DT_S)
        velocity = velocity + change
        position = position + velocity * DT_S
        assert (position >= fence.low - 1e-6).all()
        assert (position <= fence.high + 1e-6).all()
        if tick % 10 == 0:
            command = data.draw(hostile)


def test_outside_the_fence_only_the_way_back_is_open() -> None:
    outside = np.array([7.0, 0.0, 1.0])
    velocity, reasons = setpoint(SafetyGate(CONFIG), 0.0, [0.5, 0.3, 0.0], outside)
    np.testing.assert_array_equal(velocity, [0.0, 0.3, 0.0])
    assert reasons == {Intervention.GEOFENCE}
    velocity, reasons = setpoint(SafetyGate(CONFIG), 0.0, [-0.5, 0.3, 0.0], outside)
    np.testing.assert_array_equal(velocity, [-0.5, 0.3, 0.0])
    assert reasons == set()


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
    velocity, reasons = SafetyGate(CONFIG).setpoint(now_s, Stamped(now_s - silent_s, wanted), Stamped(now_s, CENTRE))
    assert reasons == ({reason} if reason else set())
    np.testing.assert_array_equal(velocity, [0.0, 0.0, climb] if reason else wanted)


def test_landing_goes_on_below_the_fence() -> None:
    low = np.array([0.0, 0.0, LIMITS.z_min_m / 2])
    velocity, _ = SafetyGate(CONFIG).setpoint(50.0, None, Stamped(50.0, low))
    assert velocity[2] == -LANDING_SPEED_MPS


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (None, Intervention.ODOMETRY_INVALID),
        (Stamped(50.0, np.array([0.0, math.nan, 1.0])), Intervention.ODOMETRY_INVALID),
        (Stamped(50.0 - LIMITS.stale_after_s - 0.01, CENTRE), Intervention.ODOMETRY_STALE),
    ],
)
def test_who_does_not_know_where_it_is_hovers(position: Stamped | None, reason: Intervention) -> None:
    velocity, reasons = SafetyGate(CONFIG).setpoint(50.0, Stamped(50.0, np.array([0.4, 0.0, 0.0])), position)
    np.testing.assert_array_equal(velocity, np.zeros(3))
    assert reasons == {reason}
