"""A scene as bodies in space, for whatever draws them in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sortie_view.colours import GREY, colour_of

Point = tuple[float, float, float]
Colour = tuple[float, float, float, float]
"""Red, green, blue, and how opaque."""
LINK_M, LINK_COLOUR = 0.02, (0.4, 0.6, 1.0, 0.5)
"""Thickness of radio links, and their colour."""
_DRONE_M, _NODE_M = 0.25, 0.4
_CONSUMER_M, _NEED_M = 0.05, 0.5
"""Height of a consumer that needs nothing, and what is added for each drone's load that it needs, m."""


@dataclass(frozen=True)
class Body:
    """A drone or a cluster's node, a ball; or a consumer, an upright cylinder.

    Attributes:
        centre: x, y, z m.
        width_m: its diameter.
        height_m: of it.
        colour: of it.
    """

    centre: Point
    width_m: float
    height_m: float
    colour: Colour


def agents(snapshot: dict[str, Any]) -> list[Body]:
    """Balls in the colour of the consumer that they have agreed on.

    Args:
        snapshot: of `sortie_view.scene.Scene`, with drones.
    """
    drones, size_m = snapshot["drones"], _NODE_M if snapshot["kind"] == "cluster" else _DRONE_M
    chosen = [choice if lives else -1 for choice, lives in zip(drones["choice"], drones["alive"], strict=True)]
    return [
        Body((x, y, z), size_m, size_m, (*colour_of(choice), 1.0))
        for x, y, z, choice in zip(drones["x"], drones["y"], drones["z"], chosen, strict=True)
    ]


def consumers(snapshot: dict[str, Any]) -> list[Body]:
    """Cylinders as wide as where they are served, as high as what they need; none of a cluster."""
    if snapshot["kind"] == "cluster" or "consumers" not in snapshot:
        return []
    told, width_m = snapshot["consumers"], 2 * snapshot["facts"]["service_radius_m"]
    bodies = []
    for m, (x, y, active) in enumerate(zip(told["x"], told["y"], told["active"], strict=True)):
        height_m = _CONSUMER_M + _NEED_M * sum(snapshot["unmet"][m])
        bodies.append(Body((x, y, height_m / 2), width_m, height_m, (*(colour_of(m) if active else GREY), 0.6)))
    return bodies


def links(snapshot: dict[str, Any]) -> list[Point]:
    """The ends of radio links, two for each."""
    drones = snapshot["drones"]
    return [(drones["x"][k], drones["y"][k], drones["z"][k]) for pair in snapshot["links"] for k in pair]
