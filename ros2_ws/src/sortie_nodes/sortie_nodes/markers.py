"""What people see of a mission in RViz."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sortie_core.comm_graph import adjacency
from sortie_nodes.conversions import WORLD_FRAME, centre_height_m

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from numpy.typing import NDArray

    from sortie_core.config import Config
    from sortie_core.state import WorldState

_DRONE_SIZE_M = 0.25
_LINK_WIDTH_M = 0.02
_LINK = ColorRGBA(r=0.3, g=0.5, b=1.0, a=0.5)
_DEAD = ColorRGBA(r=0.3, g=0.3, b=0.3, a=1.0)


def team_markers(stamp: Time, state: WorldState, position: NDArray[np.floating], config: Config) -> MarkerArray:
    """Drones (green with stock, red without, grey when failed), consumers (red to green as they are served), links.

    Args:
        stamp: mission time.
        state: with B = 1.
        position: [N, 3] m, where the drones are in space.
        config: of the mission.
    """
    header = Header(stamp=stamp, frame_id=WORLD_FRAME)
    alive, stock = state.alive[0], state.stock[0].mean(axis=-1)
    markers = [
        _marker(
            header, "drones", k, Marker.SPHERE, _point(at), _DRONE_SIZE_M, _traffic_light(stock[k]) if lives else _DEAD
        )
        for k, (at, lives) in enumerate(zip(position, alive, strict=True))
    ]
    served = 1.0 - state.unmet[0].sum(axis=-1) / np.maximum(state.demand[0].sum(axis=-1), 1e-6)
    for m, at in enumerate(state.consumer_position[0]):
        place = Point(x=float(at[0]), y=float(at[1]), z=0.0 if len(at) < 3 else float(at[2]) + centre_height_m(config))
        colour = _traffic_light(served[m]) if state.active[0, m] else _DEAD
        markers.append(
            _marker(header, "consumers", m, Marker.CYLINDER, place, 2 * config.task.service_radius_m, colour, 0.05)
        )
    links = _marker(header, "links", 0, Marker.LINE_LIST, Point(), _LINK_WIDTH_M, _LINK)
    linked = adjacency(state.position, state.alive, config.comm.radius_m)[0]
    links.points = [_point(position[k]) for pair in zip(*np.nonzero(np.triu(linked)), strict=True) for k in pair]
    return MarkerArray(markers=[*markers, links])


def _marker(
    header: Header,
    namespace: str,
    number: int,
    kind: int,
    at: Point,
    size_m: float,
    colour: ColorRGBA,
    height_m: float | None = None,
) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD, color=colour)
    marker.scale = Vector3(x=size_m, y=size_m, z=size_m if height_m is None else height_m)
    marker.pose.position = at
    marker.pose.orientation.w = 1.0
    return marker


def _point(at: NDArray[np.floating]) -> Point:
    return Point(x=float(at[0]), y=float(at[1]), z=float(at[2]))


def _traffic_light(share: float) -> ColorRGBA:
    """Red at 0, green at 1."""
    share = float(np.clip(share, 0.0, 1.0))
    return ColorRGBA(r=1.0 - share, g=share, b=0.1, a=1.0)
