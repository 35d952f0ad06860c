"""The simulated autopilot keeps to its modes and failsafes, over real dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_core.config import load_config
from sortie_peers.flight_stack import BOOT_S, CRAZYFLIE, PX4, REST_M, Autopilot, Failsafe, FlightStack, Phase
from sortie_sim.pybullet_motion import PyBulletMotion

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml")
STEP_S = 0.02


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[FlightStack]:
    motion = PyBulletMotion(CONFIG, 2)
    yield FlightStack(motion, [[0.0, 0.0], [2.0, 1.0]], getattr(request, "param", PX4))
    motion.close()


def fly(stack: FlightStack, seconds: float, velocity: list[float] | None = None) -> None:
    for _ in range(round(seconds / STEP_S)):
        if velocity is not None:
            stack.autopilots[0].follow(velocity)
        stack.advance(STEP_S)


def take_off(stack: FlightStack) -> Autopilot:
    pilot = stack.autopilots[0]
    assert pilot.arm()
    assert pilot.take_off(1.0, 2.0)
    fly(stack, 3.0)
    assert pilot.phase is Phase.HOLDING
    assert pilot.position[2] == pytest.approx(1.0, abs=0.05)
    return pilot


def test_it_takes_off_follows_and_lands_while_the_other_stands(stack: FlightStack) -> None:
    pilot = take_off(stack)
    fly(stack, 2.0, [0.0, 0.5, 0.0])
    assert pilot.velocity[:2] == pytest.approx([0.0, 0.5], abs=0.02)
    assert pilot.land()
    fly(stack, 4.0)
    assert pilot.phase is Phase.OFF
    assert pilot.position[2] == pytest.approx(REST_M, abs=0.01)
    np.testing.assert_allclose(stack.autopilots[1].position[:2], [2.0, 1.0], atol=0.01)
    assert not stack.autopilots[1].airborne


@pytest.mark.parametrize(
    ("stack", "rules", "end"), [(PX4, PX4, Phase.LANDING), (CRAZYFLIE, CRAZYFLIE, Phase.CUT)], indirect=["stack"]
)
def test_silence_leads_to_hover_and_then_to_its_failsafe(stack: FlightStack, rules: Failsafe, end: Phase) -> None:
    pilot = take_off(stack)
    fly(stack, 1.0, [0.5, 0.0, 0.0])
    fly(stack, rules.hold_after_s + 0.3)
    assert pilot.phase is Phase.FOLLOWING
    fly(stack, rules.act_after_s - rules.hold_after_s - 0.3 - 2 * STEP_S)
    assert pilot.phase is Phase.FOLLOWING
    assert np.abs(pilot.velocity).max() < 0.3
    fly(stack, 4 * STEP_S)
    assert (pilot.phase, pilot.failsafe) == (end, "setpoints lost")
    fly(stack, 4.0)
    assert not pilot.airborne
    assert pilot.arm() is (end is Phase.LANDING)


def test_who_ends_the_stream_in_good_order_holds(stack: FlightStack) -> None:
    pilot = take_off(stack)
    fly(stack, 0.5, [0.5, 0.0, 0.0])
    assert pilot.hold()
    fly(stack, 5.0)
    assert pilot.phase is Phase.HOLDING
    assert pilot.airborne


def test_cut_motors_stay_cut_until_it_is_rebooted(stack: FlightStack) -> None:
    pilot = take_off(stack)
    pilot.cut()
    fly(stack, 1.0)
    assert not pilot.airborne
    assert not pilot.arm()
    pilot.reboot()
    assert not pilot.up
    fly(stack, BOOT_S + 0.1)
    assert pilot.up
    assert pilot.arm()


def test_a_reboot_in_the_air_drops_it_and_a_setpoint_does_not_start_its_motors(stack: FlightStack) -> None:
    pilot = take_off(stack)
    pilot.reboot()
    fly(stack, BOOT_S + 1.0, [0.1, 0.0, 0.0])
    assert pilot.phase is Phase.OFF
    assert not pilot.airborne


def test_numbers_that_are_none_are_dropped(stack: FlightStack) -> None:
    pilot = take_off(stack)
    assert not pilot.follow([np.nan, 0.0, 0.0])
    assert not pilot.follow([0.0, 0.0, 0.0], [0.0, np.inf, 0.0])
    assert pilot.phase is Phase.HOLDING


def test_the_battery_falls_in_flight_alone(stack: FlightStack) -> None:
    full = stack.autopilots[1].battery_v
    take_off(stack)
    assert stack.autopilots[0].battery_v < full == stack.autopilots[1].battery_v
