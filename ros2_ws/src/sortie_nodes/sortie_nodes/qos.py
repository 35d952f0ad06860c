"""Every quality-of-service profile of the graph, named by purpose.

Depths follow two rules. A topic that several nodes publish on needs a depth of at least their number, since a burst of
one message each would otherwise overwrite itself in the reader, RELIABLE or not. And where every single message counts
(lockstep, recording), the depth covers the longest time a reader may lag behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence


def _profile(depth: int, *, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


TICK_STATE = _profile(10)
"""Odometry, stock and consumers of a tick; one publisher each; older ticks are of no use."""

RADIO = _profile(50)
"""Packets to the relay and frames from it; one publisher each, several rounds to a tick."""

COMMAND = _profile(10)
"""Velocity commands, claims and setpoints; one publisher each."""

CLOCK = _profile(10)
"""Mission time; readers with use_sim_time ask for less (best effort, depth 1), which is compatible."""

TEAM_STATUS = _profile(1000)
"""One message a tick about the whole team and about the radio; recorded, hence none may be overwritten."""

FAULTS = _profile(500, latched=True)
"""Faults, published by any node; who comes late hears of them too."""

REPORT = _profile(1, latched=True)
"""One agent's account of itself at the end of a mission."""

DIAGNOSTICS = _profile(200)
"""Shared by every node of the graph."""

MARKERS = _profile(1)
"""For people's eyes; only the newest counts."""


def recording(publishers: Sequence[QoSProfile]) -> QoSProfile:
    """What hears all that these publish: reliable if all of them are, and latched if all of them are."""
    profile = _profile(1000, latched=all(each.durability is DurabilityPolicy.TRANSIENT_LOCAL for each in publishers))
    if any(each.reliability is not ReliabilityPolicy.RELIABLE for each in publishers):
        profile.reliability = ReliabilityPolicy.BEST_EFFORT
    return profile
