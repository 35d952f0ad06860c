"""What must hold before drones may be armed, line by line. No ROS in here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_flight.vehicle import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sortie_core.flight_config import FlightConfig
    from sortie_flight.flight_phase import DroneFlight, Sight
    from sortie_safety.fence import Fence

_GROUND_M = 0.3
"""Drones must stand within so much of the height of the world's floor, m."""


class Line(NamedTuple):
    """One line.

    Attributes:
        drone: whose; None for the team's.
        item: what was looked at.
        ok: it is green.
        text: what was found, and, where it is not green, how to mend it.
        warning: people should know, but may fly.
    """

    drone: int | None
    item: str
    ok: bool
    text: str
    warning: bool = False


def drone_lines(
    drone: int, sight: Sight, flight: DroneFlight, place: NDArray[np.float64] | None, fence: Fence, config: FlightConfig
) -> list[Line]:
    """The lines of one drone.

    Args:
        drone: its number.
        sight: what is known of it.
        flight: its phase.
        place: [3] m, where it is; None where that is not known.
        fence: that it will be kept in.
        config: of the flight.
    """
    limits, safety = config.flight, config.safety
    place_of = config.place(drone)
    lines = [
        Line(drone, "link", sight.silent_s < limits.link_timeout_s, _link(sight, place_of.address)),
        Line(drone, "pose", sight.pose_age_s < safety.stale_after_s, _pose(sight)),
        Line(drone, "battery", *_battery(sight, place_of.battery_warn_v)),
        Line(
            drone,
            "unlocked",
            not sight.locked,
            "locked; look at it, and switch it off and on" if sight.locked else "yes",
        ),
    ]
    still = flight.mode is Mode.GROUND and sight.stands
    lines.append(
        Line(drone, "on the ground", still, "disarmed" if still else "armed, or in the air; land and disarm it")
    )
    if place is not None and np.isfinite(place).all():
        level = np.append(place[:2], config.world.altitude_m)
        room_m = fence.distance_m(level)
        mend = "carry it inside, or change safety.geofence"
        lines.append(Line(drone, "fence", room_m > 0, f"{room_m:.2f} m inside" if room_m > 0 else f"outside; {mend}"))
        low = abs(place[2]) < _GROUND_M
        text = f"at {place[2]:.2f} m" + ("" if low else "; set the origin of flight.vehicles, or its estimator, right")
        lines.append(Line(drone, "height", bool(low), text))
    if flight.fault is not None:
        lines.append(Line(drone, "no fault", False, f"{flight.fault[1]}; start anew"))
    return lines


def team_lines(places: Sequence[NDArray[np.float64] | None], config: FlightConfig) -> list[Line]:
    """The lines of the team.

    Args:
        places: [3] m of each drone, as far as they are known.
        config: of the flight.
    """
    known = {k: place for k, place in enumerate(places) if place is not None and np.isfinite(place).all()}
    apart_m, pair = math.inf, (0, 0)
    for one, at in known.items():
        for other, there in known.items():
            if one < other and (gap := math.dist(at[:2], there[:2])) < apart_m:
                apart_m, pair = gap, (one, other)
    wide = apart_m > config.safety.separation_m
    if math.isinf(apart_m):
        return [Line(None, "apart", True, "one drone" if known else "no drone is known")]
    text = f"drones {pair[0]} and {pair[1]} are {apart_m:.2f} m apart"
    return [Line(None, "apart", wide, text if wide else f"{text}; put them {config.safety.separation_m:g} m apart")]


def _link(sight: Sight, address: str) -> str:
    if math.isinf(sight.silent_s):
        return f"nothing heard at {address}; switch it on, or correct flight.address"
    return f"heard {sight.silent_s:.1f} s ago"


def _pose(sight: Sight) -> str:
    if math.isinf(sight.pose_age_s):
        return "none; start its positioning (motion capture, lighthouse, GPS)"
    return f"{1e3 * sight.pose_age_s:.0f} ms old"


def _battery(sight: Sight, warn_v: float) -> tuple[bool, str, bool]:
    if math.isnan(sight.battery_v):
        return True, "not told", True
    low = sight.battery_v < warn_v
    return not low, f"{sight.battery_v:.2f} V" + (f", below {warn_v:g} V; charge it" if low else ""), False
