"""Units of time for tables and plots."""

from __future__ import annotations

from collections.abc import Sequence


def time_unit(hours: Sequence[float]) -> tuple[str, float]:
    """Returns a unit in which these times are easy to read, and how many of it an hour has."""
    longest = max(hours, default=0.0)
    return ("hours", 1.0) if longest >= 1 else ("minutes", 60.0) if longest >= 1 / 60 else ("seconds", 3600.0)
