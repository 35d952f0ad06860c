"""What a gate remembers of a drone that tells nonsense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sortie_core.config import load_config
from sortie_flight.gate_node import DroneChannel
from sortie_safety.safety_gate import Command, Intervention, Kinematics, SafetyGate
from sortie_safety.team_gate import others_near

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml")
HERE, STILL = np.array([1.0, 0.0, 1.0]), np.zeros(3)


@pytest.mark.parametrize(
    "nonsense",
    [
        (HERE * np.nan, STILL),
        (HERE, STILL + np.inf),
        (np.array([1e9, 0.0, 1.0]), STILL),
        (HERE, np.array([0, np.nan, 0])),
    ],
)
def test_a_drone_that_tells_nonsense_is_avoided_where_it_last_made_sense(nonsense: tuple) -> None:
    strange, other = (DroneChannel(SafetyGate(CONFIG), 0.0) for _ in range(2))
    strange.hear(Kinematics(5.0, HERE, np.array([-0.5, 0.0, 0.0])))
    other.hear(Kinematics(6.0, np.array([0.0, 0.0, 1.0]), STILL))
    strange.hear(Kinematics(6.0, *nonsense))
    assert strange.own is not None and not strange.own.finite
    known, everybody = [strange.seen, other.seen], np.ones(2, bool)
    near = others_near(1, known, everybody, everybody, axes=2, since_s=6.0 - CONFIG.safety.stale_after_s)
    np.testing.assert_array_equal(near.position, [HERE[:2]])
    np.testing.assert_array_equal(near.velocity, [[0.0, 0.0]])
    wanted = Command(6.0, np.array([2.0, 0.0, 0.0]))
    velocity, reasons = other.gate.setpoint(6.0, wanted, other.own, near)
    assert Intervention.SEPARATION in reasons
    assert velocity[0] < 1.0
    hover, reasons = strange.gate.setpoint(6.0, wanted, strange.own, None)
    assert reasons == {Intervention.ODOMETRY_INVALID}
    np.testing.assert_array_equal(hover, STILL)
