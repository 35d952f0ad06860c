"""What people see of a run in RViz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sortie_nodes.conversions import WORLD_FRAME
from sortie_view import shapes

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time

    from sortie_view.shapes import Body, Colour


def scene_markers(snapshot: dict[str, Any], stamp: Time) -> MarkerArray:
    """Agents, consumers, radio links, as of `sortie_view.shapes`.

    Args:
        snapshot: of `sortie_view.scene.Scene`, with drones.
        stamp: mission time.
    """
    header = Header(stamp=stamp, frame_id=WORLD_FRAME)
    bodies = (("drones", Marker.SPHERE, shapes.agents), ("consumers", Marker.CYLINDER, shapes.consumers))
    markers = [
        _body(header, name, k, kind, body) for name, kind, found in bodies for k, body in enumerate(found(snapshot))
    ]
    links = _marker(header, "links", 0, Marker.LINE_LIST, shapes.LINK_COLOUR)
    links.scale.x = shapes.LINK_M
    links.points = [Point(x=x, y=y, z=z) for x, y, z in shapes.links(snapshot)]
    return MarkerArray(markers=[*markers, links])


def _body(header: Header, namespace: str, number: int, kind: int, body: Body) -> Marker:
    marker = _marker(header, namespace, number, kind, body.colour)
    x, y, z = body.centre
    marker.pose.position = Point(x=x, y=y, z=z)
    marker.scale = Vector3(x=body.width_m, y=body.width_m, z=body.height_m)
    return marker


def _marker(header: Header, namespace: str, number: int, kind: int, colour: Colour) -> Marker:
    red, green, blue, alpha = colour
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    marker.pose.orientation.w = 1.0
    return marker
