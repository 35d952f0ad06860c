"""Curves in a terminal, of braille characters: two points across and four down in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BLANK = 0x2800
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bits of a character's dots, by row and column."""


def curve(values: Sequence[float], width: int, height: int) -> list[str]:
    """A curve over its index, from its least value at the bottom to its largest at the top.

    Args:
        values: finite, in order; more than twice the width are averaged in groups.
        width: characters.
        height: lines.

    Returns:
        `height` lines of `width` characters; blank without values.
    """
    dots = np.zeros((4 * height, 2 * width), bool)
    if len(values):
        level = _levels(_columns(np.asarray(values, float), 2 * width), 4 * height)
        for column, (at, before) in enumerate(zip(level, [level[0], *level], strict=False)):
            # a line without gaps: each column reaches to the one before it
            low, high = (at, at) if abs(at - before) < 2 else sorted((at, before + (1 if at > before else -1)))
            dots[4 * height - 1 - high : 4 * height - low, column] = True
    cells = dots.reshape(height, 4, width, 2).transpose(0, 2, 1, 3)
    codes = _BLANK + (cells * _DOTS).sum((2, 3))
    return ["".join(map(chr, line)) for line in codes.tolist()]


def _columns(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """One value for each column: means of groups, or in between of few."""
    if len(values) > count:
        first = np.arange(count) * len(values) // count
        means: NDArray[np.float64] = np.add.reduceat(values, first) / np.diff(first, append=len(values))
        return means
    return np.interp(np.linspace(0, len(values) - 1, count), np.arange(len(values)), values)


def _levels(values: NDArray[np.float64], count: int) -> list[int]:
    """The row of each value, from 0 at the bottom; in the middle where all are alike."""
    span = float(np.ptp(values))
    if span == 0:
        return [count // 2] * len(values)
    return np.round((values - values.min()) / span * (count - 1)).astype(int).tolist()
