"""The one place where frames and units of flight are converted.

Sortie's world is ENU (x east, y north, z up), its bodies are FLU (x forward, y left, z up), angles are radians, and
quaternions are xyzw, body to world (REP 103). MAVLink's local frame is NED (x north, y east, z down) with bodies FRD (x
forward, y right, z down) and quaternions wxyz; a Crazyflie's world has Sortie's axes, and angles in degrees.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]

_HALF = math.sqrt(0.5)


def ned_of(enu: ArrayLike) -> Vector:
    """A vector [3] of the ENU world in NED; its own inverse, hence also `enu_of`."""
    east, north, up = np.asarray(enu, np.float64)
    return np.array([north, east, -up])


enu_of = ned_of
"""A vector [3] of the NED world in ENU."""


def heading_of(yaw_rad: float) -> float:
    """Yaw about z up from east, rad, as heading from north about z down, rad in [-pi, pi); its own inverse."""
    return (math.pi / 2 - yaw_rad + math.pi) % (2 * math.pi) - math.pi


yaw_of = heading_of
"""Heading from north about z down, rad, as yaw about z up from east, rad in [-pi, pi)."""


def attitude_from_ned(wxyz: ArrayLike) -> Vector:
    """Attitude FRD to NED, quaternion wxyz [4], as FLU to ENU, xyzw [4].

    The body turns by pi about its x axis (FLU to FRD) before it, and the world by pi about (1, 1, 0) (NED to ENU) after
    it: ``q' = q_world q q_body`` with, as wxyz, q_world = (0, s, s, 0), s = sqrt(1/2), and q_body = (0, 1, 0, 0).
    """
    w, x, y, z = np.asarray(wxyz, np.float64)
    return _HALF * np.array([x + y, x - y, w - z, w + z])


def attitude_to_ned(xyzw: ArrayLike) -> Vector:
    """Attitude FLU to ENU, quaternion xyzw [4], as FRD to NED, wxyz [4]; the inverse of `attitude_from_ned`."""
    x, y, z, w = np.asarray(xyzw, np.float64)
    return _HALF * np.array([w + z, x + y, x - y, w - z])


def yaw_from_attitude(xyzw: ArrayLike) -> float:
    """Yaw of an attitude about z up, rad."""
    x, y, z, w = map(float, np.asarray(xyzw, np.float64))
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def millimetres_of(metres: ArrayLike) -> NDArray[np.int16]:
    """Lengths in m, or speeds in m/s, as a Crazyflie packs them: int16 of thousandths, clipped to its range."""
    return np.clip(np.rint(1e3 * np.asarray(metres, np.float64)), -32768, 32767).astype(np.int16)


def metres_of(millimetres: ArrayLike) -> Vector:
    """The inverse of `millimetres_of`, up to rounding."""
    return np.asarray(millimetres, np.float64) / 1e3
