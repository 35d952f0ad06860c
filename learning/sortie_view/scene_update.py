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

from sortie_view.colours import GREY, colour_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_FRAME = "world"
_DRONE_M, _NODE_M, _LINK_M, _CONSUMER_M = 0.25, 0.4, 0.02, 0.05
_TEXT_M = 0.25


def scene_update(snapshot: dict[str, Any], time_ns: int) -> SceneUpdate:
    """Drones in the colour of the consumer that they have agreed on, consumers as high as what they still need, links.

    Args:
        snapshot: of `sortie_view.scene.Scene`, with drones.
        time_ns: when.
    """
    stamp = Timestamp(sec=time_ns // 10**9, nsec=time_ns % 10**9)
    drones = snapshot["drones"]
    place = list(zip(drones["x"], drones["y"], drones["z"], strict=True))
    chosen = zip(drones["choice"], drones["alive"], strict=True)
    colours = [colour_of(choice if lives else -1) for choice, lives in chosen]
    size_m = _NODE_M if snapshot["kind"] == "cluster" else _DRONE_M
    spheres = [
        SpherePrimitive(pose=_at(at), size=Vector3(x=size_m, y=size_m, z=size_m), color=_colour(colour))
        for at, colour in zip(place, colours, strict=True)
    ]
    texts = [
        TextPrimitive(
            pose=_at((at[0], at[1], at[2] + size_m)),
            billboard=True,
            font_size=_TEXT_M,
            color=_colour((1.0, 1.0, 1.0)),
            text=str(k),
        )
        for k, at in enumerate(place)
    ]
    ends = [Point3(x=at[0], y=at[1], z=at[2]) for pair in snapshot["links"] for at in (place[pair[0]], place[pair[1]])]
    lines = LinePrimitive(
        type=LinePrimitiveLineType.LineList,
        pose=_at((0.0, 0.0, 0.0)),
        thickness=_LINK_M,
        points=ends,
        color=_colour((0.4, 0.6, 1.0), 0.5),
    )
    entities = [
        SceneEntity(timestamp=stamp, frame_id=_FRAME, id="drones", spheres=spheres, texts=texts),
        SceneEntity(timestamp=stamp, frame_id=_FRAME, id="links", lines=[lines]),
    ]
    if snapshot["kind"] == "delivery" and "consumers" in snapshot:
        cylinders = _consumers(snapshot, snapshot["facts"]["service_radius_m"])
        entities.append(SceneEntity(timestamp=stamp, frame_id=_FRAME, id="consumers", cylinders=cylinders))
    return SceneUpdate(entities=entities)


def _consumers(snapshot: dict[str, Any], radius_m: float) -> list[CylinderPrimitive]:
    consumers, found = snapshot["consumers"], []
    for m, (x, y, unmet, active) in enumerate(
        zip(consumers["x"], consumers["y"], snapshot["unmet"], consumers["active"], strict=True)
    ):
        height_m = _CONSUMER_M + 0.5 * sum(unmet)
        found.append(
            CylinderPrimitive(
                pose=_at((x, y, height_m / 2)),
                size=Vector3(x=2 * radius_m, y=2 * radius_m, z=height_m),
                bottom_scale=1.0,
                top_scale=1.0,
                color=_colour(colour_of(m) if active else GREY, 0.6),
            )
        )
    return found


def _at(place: Sequence[float]) -> Pose:
    return Pose(
        position=Vector3(x=place[0], y=place[1], z=place[2]), orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
    )


def _colour(rgb: Sequence[float], alpha: float = 1.0) -> Color:
    return Color(r=rgb[0], g=rgb[1], b=rgb[2], a=alpha)
