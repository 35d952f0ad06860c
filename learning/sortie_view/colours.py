"""The colours of sub-teams, the same in every picture."""

from __future__ import annotations

import colorsys

_GOLDEN = 0.381966
GREY = (0.55, 0.55, 0.55)


def colour_of(consumer: int) -> tuple[float, float, float]:
    """Red, green and blue of those who have agreed on a consumer, far apart for consumers beside each other.

    Grey for -1, those who have agreed on none.
    """
    return colorsys.hls_to_rgb(consumer * _GOLDEN % 1.0, 0.5, 0.7) if consumer >= 0 else GREY
