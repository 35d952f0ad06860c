"""What people see of a run in RViz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sortie_nodes.conversions import WORLD_FRAME
from sortie_view.colours import GREY, colour_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builtin_interfaces.msg import Time

_DRONE_M = 0.25
_LINK_M = 0.02
_CONSUMER_M, _NEED_M = 0.05, 0.5
"""Height of a consumer that needs nothing, and what is added for each drone's load that it needs, m."""
_LINK = ColorRGBA(r=0.4, g=0.6, b=1.0, a=0.5)


def scene_markers(snapshot: dict[str, Any], stamp: Time) -> MarkerArray:
    """Drones in the colour of the consumer that they have agreed on, consumers as high as what they need, radio links.

    Args:
        snapshot: of `sortie_view.scene.Scene`, with drones; of a cluster, its nodes.
        stamp: mission time.
    """
    header, drones = Header(stamp=stamp, frame_id=WORLD_FRAME), snapshot["drones"]
    place = [Point(x=x, y=y, z=z) for x, y, z in zip(drones["x"], drones["y"], drones["z"], strict=True)]
    markers = []
    for k, (at, choice, lives) in enumerate(zip(place, drones["choice"], drones["alive"], strict=True)):
        colour = _colour(colour_of(choice if lives else -1))
        markers.append(_marker(header, "drones", k, Marker.SPHERE, at, (_DRONE_M,) * 3, colour))
    if snapshot["kind"] == "delivery" and "consumers" in snapshot:
        markers += _consumers(header, snapshot)
    links = _marker(header, "links", 0, Marker.LINE_LIST, Point(), (_LINK_M,) * 3, _LINK)
    links.points = [place[k] for pair in snapshot["links"] for k in pair]
    return MarkerArray(markers=[*markers, links])


def _consumers(header: Header, snapshot: dict[str, Any]) -> list[Marker]:
    consumers, width_m = snapshot["consumers"], 2 * snapshot["facts"]["service_radius_m"]
    found = []
    for m, (x, y, active) in enumerate(zip(consumers["x"], consumers["y"], consumers["active"], strict=True)):
        height_m = _CONSUMER_M + _NEED_M * sum(snapshot["unmet"][m])
        colour = _colour(colour_of(m) if active else GREY, 0.6)
        at, size_m = Point(x=x, y=y, z=height_m / 2), (width_m, width_m, height_m)
        found.append(_marker(header, "consumers", m, Marker.CYLINDER, at, size_m, colour))
    return found


def _marker(
    header: Header, namespace: str, number: int, kind: int, at: Point, size_m: Sequence[float], colour: ColorRGBA
) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD, color=colour)
    marker.scale = Vector3(x=size_m[0], y=size_m[1], z=size_m[2])
    marker.pose.position = at
    marker.pose.orientation.w = 1.0
    return marker


def _colour(rgb: Sequence[float], alpha: float = 1.0) -> ColorRGBA:
    return ColorRGBA(r=rgb[0], g=rgb[1], b=rgb[2], a=alpha)
