"""The scene as Foxglove's 3D panel draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foxglove.messages import (
    Color,
    CylinderPrimitive,
    LinePrimitive,
    LinePrimitiveLineType,
    Point3,
    Pose,
    Quaternion,
    SceneEntity,
    SceneUpdate,
    SpherePrimitive,
    TextPrimitive,
    Timestamp,
    Vector3,
)

from sortie_view import shapes

if TYPE_CHECKING:
    from sortie_view.shapes import Body, Colour, Point

_FRAME = "world"
_TEXT_M = 0.25
_WHITE = Color(r=1.0, g=1.0, b=1.0, a=1.0)


def scene_update(snapshot: dict[str, Any], time_ns: int) -> SceneUpdate:
    """Agents with their numbers, consumers, radio links, as of `sortie_view.shapes`.

    Args:
        snapshot: of `sortie_view.scene.Scene`, with drones.
        time_ns: when.
    """
    stamp = Timestamp(sec=time_ns // 10**9, nsec=time_ns % 10**9)
    agents = shapes.agents(snapshot)
    lines = LinePrimitive(
        type=LinePrimitiveLineType.LineList,
        pose=_at((0.0, 0.0, 0.0)),
        thickness=shapes.LINK_M,
        points=[Point3(x=x, y=y, z=z) for x, y, z in shapes.links(snapshot)],
        color=_colour(shapes.LINK_COLOUR),
    )
    parts: dict[str, Any] = {
        "drones": {"spheres": list(map(_sphere, agents)), "texts": [_number(*each) for each in enumerate(agents)]},
        "links": {"lines": [lines]},
        "consumers": {"cylinders": list(map(_cylinder, shapes.consumers(snapshot)))},
    }
    return SceneUpdate(
        entities=[SceneEntity(timestamp=stamp, frame_id=_FRAME, id=name, **part) for name, part in parts.items()]
    )


def _sphere(body: Body) -> SpherePrimitive:
    return SpherePrimitive(pose=_at(body.centre), size=_size(body), color=_colour(body.colour))


def _number(k: int, body: Body) -> TextPrimitive:
    x, y, z = body.centre
    return TextPrimitive(
        pose=_at((x, y, z + body.height_m)), billboard=True, font_size=_TEXT_M, color=_WHITE, text=str(k)
    )


def _cylinder(body: Body) -> CylinderPrimitive:
    return CylinderPrimitive(
        pose=_at(body.centre), size=_size(body), bottom_scale=1.0, top_scale=1.0, color=_colour(body.colour)
    )


def _size(body: Body) -> Vector3:
    return Vector3(x=body.width_m, y=body.width_m, z=body.height_m)


def _at(place: Point) -> Pose:
    x, y, z = place
    return Pose(position=Vector3(x=x, y=y, z=z), orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=1.0))


def _colour(colour: Colour) -> Color:
    red, green, blue, alpha = colour
    return Color(r=red, g=green, b=blue, a=alpha)
