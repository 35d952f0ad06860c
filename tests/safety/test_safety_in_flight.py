"""Whatever policies command, drones with their real dynamics neither meet nor leave the fence.

Each flight draws a policy for every drone anew after half a second to a second: broken numbers, ten times the speed
limit, pursuit, the fence, the centre, old commands, none at all, or an honest flight to a goal.
"""

from __future__ import annotations

import pytest
from wild_flights import POLICIES, WildFlight, configuration

from sortie_safety.safety_gate import Intervention

SIMULATED_S, FLOWN_S = 0.1, 0.04
"""Periods of the gates, of a simulated mission and of a flight."""
ATTACKS = ("nearest", "neighbour", "fence", "centre", "hurl")
DROPPING_OUT = ("centre", "nearest", "silence")
SECONDS = 10.0


@pytest.mark.parametrize("period_s", [SIMULATED_S, FLOWN_S])
@pytest.mark.parametrize(
    ("n_agents", "policies", "flights"),
    [
        (2, POLICIES, 4),
        (4, POLICIES, 4),
        (8, POLICIES, 4),
        (15, POLICIES, 2),
        (8, ATTACKS, 2),
        (15, DROPPING_OUT, 2),
        (15, ("centre",), 1),
        (8, ("hurl",), 2),
    ],
    ids=["2", "4", "8", "15", "attacks", "dropping-out", "all-to-the-centre", "hurled"],
)
def test_no_policies_make_drones_meet_or_leave_the_fence(
    n_agents: int, policies: tuple[str, ...], flights: int, period_s: float
) -> None:
    config = configuration(n_agents)
    for seed in range(flights):
        flown = WildFlight(config, seed, period_s, policies).run(SECONDS)
        assert flown.fastest_mps <= config.safety.max_speed_mps * (1 + 1e-9)
        assert flown.apart_m >= config.world.collision_distance_m, f"seed {seed}"
        assert flown.inside_m >= 0, f"seed {seed}"
        assert flown.n_cases >= n_agents * SECONDS


def test_the_flights_are_dangerous_without_the_shield() -> None:
    config = configuration(8, "safety.shield=none")
    assert WildFlight(config, 0, FLOWN_S, ATTACKS).run(4.0).apart_m < config.world.collision_distance_m


def test_every_check_has_something_to_do() -> None:
    flown = WildFlight(configuration(15), 0, FLOWN_S).run(SECONDS)
    assert flown.n_landed > 0
    assert set(flown.reasons) == set(Intervention) - {Intervention.ODOMETRY_INVALID, Intervention.ODOMETRY_STALE}
