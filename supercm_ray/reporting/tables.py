"""Tables and numbers as text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows of cells, the first of which are headings, as text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def value_text(value: object) -> str:
    """Formats a value of a configuration, numbers with four digits."""
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def points(value: float) -> str:
    """Formats a difference from -1 to 1 in points of percent, with its sign unless it rounds to 0."""
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def mean_std(values: Sequence[float]) -> str:
    """Formats the mean of fractions in percent, with their standard deviation if there are several."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean
