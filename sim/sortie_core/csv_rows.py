"""Rows of figures as CSV."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as CSV with a column for every key of any; lists are intervals, and None and NaN are left empty."""
    flat = [dict(_cells(row)) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(key for row in flat for key in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _cells(row: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, list):
            yield from zip((f"{key}_low", f"{key}_high"), value, strict=True)
        else:
            yield key, None if isinstance(value, float) and math.isnan(value) else value
