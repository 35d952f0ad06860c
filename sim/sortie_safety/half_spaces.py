"""What is allowed as half-spaces of velocity, and the allowed velocity nearest to a wanted one.

The quadratic program ``min |u - w|^2 + (K s)^2  s.t.  n_k . u + s >= b_k (soft), n_k . u >= b_k (hard), s >= 0`` is a
least-distance problem, which Lawson and Hanson ("Solving Least Squares Problems", 1974, chapter 23) turn into a
non-negative least-squares problem: exact, and as small as there are half-spaces. The slack s is used only where the
half-spaces have nothing in common, and is then as small as can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_SLACK_COST = 1e3
"""K: a velocity that is off by 1 m/s costs as much as 1 mm/s of slack."""
_TOLERANCE_MPS = 1e-9
_NOTHING_LEFT = 1e-12
"""1 / (1 + least cost), at most so much only where there is no solution."""


def nearest_allowed(wanted: Array, normal: Array, bound: Array, n_soft: int) -> Array:
    """The velocity nearest to a wanted one whose part along each normal is at least its bound.

    Args:
        wanted: [D] m/s.
        normal: [K, D] unit vectors.
        bound: [K] m/s.
        n_soft: the first so many bounds give way alike, as little as need be, where all together leave nothing; the
            others do not, unless already they leave nothing: then all give way alike.

    Returns:
        [D] m/s, `wanted` itself where it is allowed.
    """
    lacking = bound - normal @ wanted
    if not (lacking > _TOLERANCE_MPS).any():
        return wanted
    n_rows, dimensions = normal.shape
    # columns: one for each half-space, and s >= 0; rows: u - w, K s, and the last for what is lacking
    table = np.zeros((dimensions + 2, n_rows + 1))
    table[:dimensions, :n_rows] = normal.T
    table[dimensions, :n_soft] = 1.0 / _SLACK_COST
    table[dimensions, n_rows] = 1.0
    table[dimensions + 1, :n_rows] = lacking
    target = np.zeros(dimensions + 2)
    target[-1] = 1.0
    weight, _ = nnls(table, target)
    rest = target - table @ weight
    if rest[-1] < _NOTHING_LEFT and n_soft < n_rows:
        return nearest_allowed(wanted, normal, bound, n_soft=n_rows)
    moved: Array = wanted - rest[:dimensions] / rest[-1]
    return moved
