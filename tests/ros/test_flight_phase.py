"""A drone's phases: what leads from one to the next, and that nothing leads out of a safe state."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sortie_interfaces.msg import Fault

from sortie_core.config import load
from sortie_core.flight_config import FlightConfig
from sortie_flight.checklist import drone_lines, team_lines
from sortie_flight.flight_phase import ARMING_S, DroneFlight, Sight
from sortie_flight.vehicle import Mode
from sortie_safety.safety_gate import SafetyGate

CONFIG = load(FlightConfig, Path(__file__).parents[2] / "configs" / "flight" / "cflib.yaml")
GROUND = Sight(pose_age_s=0.01, silent_s=0.01, height_m=0.0, battery_v=4.1)
READY = replace(GROUND, armed=True)
UP = replace(READY, airborne=True, height_m=1.0)
PLACE = np.array([1.0, 2.0, 0.0])


def flying() -> DroneFlight:
    flight = DroneFlight(CONFIG, 3)
    flight.arm(0.0, GROUND)
    flight.update(0.1, READY)
    flight.update(1.0, UP)
    assert flight.mode is Mode.FOLLOW
    return flight


def test_a_flight_goes_from_the_ground_into_the_air_and_back() -> None:
    flight = DroneFlight(CONFIG, 3)
    flight.update(0.0, GROUND)
    assert flight.mode is Mode.GROUND
    flight.arm(0.0, GROUND)
    modes = []
    for sight in (GROUND, READY, replace(UP, height_m=0.5), UP):
        flight.update(0.1, sight)
        modes.append(flight.mode)
    assert modes == [Mode.ARM, Mode.TAKE_OFF, Mode.TAKE_OFF, Mode.FOLLOW]
    flight.land()
    flight.update(5.0, UP)
    assert flight.mode is Mode.LAND
    flight.update(8.0, GROUND)
    assert flight.mode is Mode.LAND
    flight.update(9.1, GROUND)
    assert (flight.mode, flight.fault) == (Mode.GROUND, None)


def test_a_drone_that_arms_itself_is_told_that_it_may_fly_and_not_waited_for() -> None:
    flight, itself = DroneFlight(CONFIG, 3), replace(GROUND, can_arm=False)
    flight.arm(0.0, itself)
    flight.update(0.1, itself)
    assert flight.mode is Mode.ARM
    flight.update(0.6, itself)
    assert flight.mode is Mode.TAKE_OFF
    flight.land()
    for now_s, sight, mode in [
        (0.7, itself, Mode.LAND),  # it has not left the ground yet, and may be about to
        (1.2, replace(itself, airborne=True), Mode.LAND),
        (4.0, itself, Mode.LAND),
        (5.1, itself, Mode.GROUND),
    ]:
        flight.update(now_s, sight)
        assert flight.mode is mode


@pytest.mark.parametrize(
    ("sight", "kind"),
    [
        (replace(UP, boots=1), Fault.LINK),
        (replace(UP, silent_s=CONFIG.flight.link_timeout_s + 0.1), Fault.LINK),
        (replace(UP, locked=True), Fault.FAILSAFE),
        (replace(UP, armed=False), Fault.FAILSAFE),
        (replace(UP, failsafe="setpoints lost"), Fault.FAILSAFE),
        (replace(UP, battery_v=CONFIG.flight.battery_land_v - 0.01), Fault.BATTERY),
        (replace(UP, pose_age_s=CONFIG.safety.land_after_s + 0.1), Fault.POSE),
        (replace(UP, pose_age_s=math.inf), Fault.POSE),
        (replace(UP, policy_silent_s=CONFIG.safety.land_after_s + 0.1), Fault.LANDING),
    ],
)
def test_trouble_in_the_air_ends_in_landing(sight: Sight, kind: str) -> None:
    flight = flying()
    flight.update(2.0, sight)
    assert flight.mode is Mode.LAND
    assert flight.fault is not None
    assert flight.fault[0] == kind


def test_an_autopilot_that_acts_by_itself_while_it_climbs_ends_the_flight_at_once() -> None:
    flight = DroneFlight(CONFIG, 3)
    flight.arm(0.0, GROUND)
    flight.update(0.1, READY)
    flight.update(0.2, replace(UP, height_m=0.3, failsafe="it went from OFFBOARD to LAND"))
    assert (flight.mode, flight.fault and flight.fault[0]) == (Mode.LAND, Fault.FAILSAFE)


def test_who_does_not_arm_or_climb_in_time_stays_out() -> None:
    flight = DroneFlight(CONFIG, 3)
    flight.arm(0.0, GROUND)
    flight.update(ARMING_S + 0.1, GROUND)
    assert flight.fault == (Fault.TAKE_OFF, "it did not arm")
    flight = DroneFlight(CONFIG, 3)
    flight.arm(0.0, GROUND)
    flight.update(0.1, READY)
    flight.update(0.2 + CONFIG.flight.climb_timeout_s, READY)
    assert flight.mode is Mode.LAND
    assert flight.fault is not None


SIGHTS = st.builds(
    Sight,
    pose_age_s=st.sampled_from([0.0, 0.5, 2.0, math.inf]),
    silent_s=st.sampled_from([0.0, 0.5, 2.0, math.inf]),
    policy_silent_s=st.sampled_from([0.0, 0.5, 2.0]),
    height_m=st.sampled_from([math.nan, 0.0, 0.5, 1.0]),
    armed=st.booleans(),
    airborne=st.booleans(),
    locked=st.booleans(),
    boots=st.integers(0, 2),
    battery_v=st.sampled_from([math.nan, 3.6, 3.75, 4.1]),
    failsafe=st.sampled_from(["", "something"]),
)
ORDERS = st.sampled_from(["", "", "", "land", "emergency"])


@given(st.lists(st.tuples(SIGHTS, ORDERS), max_size=30))
def test_nothing_but_arm_leads_off_the_ground_and_nothing_back_from_a_safe_state(course: list) -> None:
    flight, safe = DroneFlight(CONFIG, 3), False
    flight.arm(0.0, GROUND)
    for step, (sight, order) in enumerate(course):
        before = flight.mode
        {"land": flight.land, "emergency": flight.emergency, "": lambda: None}[order]()
        flight.update(0.3 * step, sight)
        safe = safe or flight.mode in (Mode.LAND, Mode.GROUND, Mode.EMERGENCY)
        if safe:
            assert flight.mode in (Mode.LAND, Mode.GROUND, Mode.EMERGENCY)
        if before is Mode.EMERGENCY:
            assert flight.mode is Mode.EMERGENCY
    if flight.fault is not None:
        flight.arm(100.0, GROUND)
        assert flight.mode in (Mode.LAND, Mode.GROUND, Mode.EMERGENCY)


def red(sight: Sight, place: np.ndarray | None = PLACE, flight: DroneFlight | None = None) -> dict[str, str]:
    fence = SafetyGate(CONFIG).fence
    lines = drone_lines(3, sight, flight or DroneFlight(CONFIG, 3), place, fence, CONFIG)
    return {line.item: line.text for line in lines if not line.ok}


def test_a_drone_that_is_fit_has_no_red_line() -> None:
    assert red(GROUND) == {}
    assert red(replace(READY, can_arm=False)) == {}
    assert red(replace(GROUND, battery_v=math.nan)) == {}


@pytest.mark.parametrize(
    ("sight", "place", "item", "mend"),
    [
        (Sight(), None, "link", "udp://127.0.0.1:19853; switch it on"),
        (replace(GROUND, pose_age_s=math.inf), None, "pose", "start its positioning"),
        (replace(GROUND, battery_v=3.75), PLACE, "battery", "charge it"),
        (replace(GROUND, locked=True), PLACE, "unlocked", "switch it off and on"),
        (READY, PLACE, "on the ground", "disarm it"),
        (GROUND, np.array([7.0, 0.0, 0.0]), "fence", "carry it inside"),
        (GROUND, np.array([1.0, 0.0, 0.8]), "height", "origin"),
    ],
)
def test_every_red_line_says_how_to_mend_it(sight: Sight, place: np.ndarray | None, item: str, mend: str) -> None:
    assert mend in red(sight, place)[item]


def test_drones_that_stand_too_near_to_each_other_are_named() -> None:
    near = [np.zeros(3), None, np.array([0.3, 0.0, 0.0]), np.array([np.nan, 0.0, 0.0])]
    line = team_lines(near, CONFIG)[0]
    assert not line.ok
    assert "drones 0 and 2 are 0.30 m apart" in line.text
    assert team_lines([np.zeros(3), np.ones(3)], CONFIG)[0].ok
    assert team_lines([None, None], CONFIG)[0].ok
