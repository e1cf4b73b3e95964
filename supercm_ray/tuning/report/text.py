"""The study's table and its headline in plain words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from supercm_ray.config import AlgorithmConfig, Study
from supercm_ray.search import Group
from supercm_ray.search.finalists import BASELINE, TUNED, Row

HEADINGS = ("labels", "all labels", "arm", "val %", "test %", "seeds", "gain, points")
"""Columns of the table beside the group and the setting. `all labels` includes those for validation."""


def headline(study: Study, rows: Sequence[Row], training_labels: Mapping[Group, int] | None = None) -> str:
    """What the study found, in one sentence, at its fewest labels.

    Args:
        study: the study.
        rows: its table.
        training_labels: by group, where known; otherwise the sentence gives all labels.
    """
    tuned = [row for row in rows if row.arm == TUNED]
    if not tuned:
        return f"No tuned finalist of {study.name} has come to its end yet, so nothing is known on the test split."
    row = min(tuned, key=lambda row: (row.label_budget, -row.val_accuracy[0]))
    labels = (training_labels or {}).get(row.group)
    budget = f"{row.label_budget} labels (those for validation included)"
    count = budget if labels is None else f"{labels} training labels"
    reached = f"With {count}, {_subject(study, row)} reaches {percent(row.test_accuracy)} % on the test split"
    return f"{reached}{_comparison(study, row)}{_elsewhere(tuned)}."


def table_text(study: Study, rows: Sequence[Row], training_labels: Mapping[Group, int] | None = None) -> str:
    """The table in plain text, at most 110 columns wide."""
    if not rows:
        return "no finalist has come to its end yet"
    lines = [(*study.group_paths, *HEADINGS), *(_cells(row, training_labels or {}) for row in rows)]
    first = 110 - sum(max(len(line[i]) for line in lines) + 2 for i in range(len(study.group_paths), len(lines[0])))
    lines = [_shorten(line, len(study.group_paths), first) for line in lines]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    note = "mean ± standard deviation over seeds; all labels = for training and for validation; gain paired by seed"
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:], note])


def percent(figure: tuple[float, float]) -> str:
    """Mean and standard deviation in percent, the latter left out where one value has none."""
    mean, std = figure
    return f"{100 * mean:.1f}" if math.isnan(std) else f"{100 * mean:.1f} ± {100 * std:.1f}"


def gain(row: Row) -> tuple[float, float] | None:
    """Mean and standard deviation of the gains, None where there is no pair."""
    if not row.gains:
        return None
    return statistics.mean(row.gains), statistics.stdev(row.gains) if len(row.gains) > 1 else math.nan


def gain_text(row: Row) -> str:
    """The gain in points, signed, with the number of pairs where it is not that of the runs."""
    found = gain(row)
    if found is None:
        return "–"
    sign = "+" if round(100 * found[0], 1) > 0 else ""
    pairs = f" ({len(row.gains)} of {row.num_runs} seeds)" if len(row.gains) != row.num_runs else ""
    return f"{sign}{percent(found)}{pairs}".replace("-", "−")


def seeds_text(row: Row) -> str:
    """How many seeds came to their end, and of how many if some did not."""
    return str(row.num_runs) if row.num_runs == row.num_seeds else f"{row.num_runs} of {row.num_seeds}"


def value_text(value: object) -> str:
    """A value of a configuration, numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def group_text(study: Study, group: Group) -> str:
    """A group in words, `all trials` where the study has no group path."""
    pairs = zip(study.group_paths, group, strict=True)
    return ", ".join(f"{path} = {value_text(value)}" for path, value in pairs) or "all trials"


def _subject(study: Study, row: Row) -> str:
    algorithm = study.base.replace(row.overrides).algorithm
    if algorithm.clustering_weight == 0:
        return f"tuned {algorithm.name} without the clustering loss"
    return "tuned SuperCM" if algorithm.name == AlgorithmConfig().name else f"tuned {algorithm.name} with SuperCM"


def _comparison(study: Study, row: Row) -> str:
    found = gain(row)
    if found is None:
        return "; no baseline has come to its end there" if study.baseline else "; the study names no baseline"
    points = 100 * found[0]
    seeds = "one seed" if len(row.gains) == 1 else f"± {100 * found[1]:.1f} over {len(row.gains)} seeds"
    if round(abs(points), 1) == 0:
        return f", on a par with its baseline ({seeds})"
    return f", {abs(points):.1f} points {'above' if points > 0 else 'below'} its baseline ({seeds})"


def _elsewhere(tuned: Sequence[Row]) -> str:
    gains = [100 * found[0] for row in tuned if (found := gain(row)) is not None]
    if len(gains) < 2:
        return ""
    ends = " to ".join(f"{round(value, 1) + 0.0:+.1f}".replace("-", "−") for value in (min(gains), max(gains)))
    return f"; over the {len(gains)} groups compared the gain ranges from {ends} points"


def _cells(row: Row, training_labels: Mapping[Group, int]) -> tuple[str, ...]:
    labels = training_labels.get(row.group)
    return (
        *map(value_text, row.group),
        "–" if labels is None else str(labels),
        str(row.label_budget),
        row.arm,
        percent(row.val_accuracy),
        percent(row.test_accuracy),
        seeds_text(row),
        "" if row.arm == BASELINE else gain_text(row),
    )


def _shorten(line: tuple[str, ...], num_factors: int, room: int) -> tuple[str, ...]:
    """Cuts the group_paths' cells from the left until they fit into their room."""
    if not num_factors:
        return line
    width = max(4, room // num_factors - 2)
    cut = (cell if len(cell) <= width else f"…{cell[1 - width :]}" for cell in line[:num_factors])
    return (*cut, *line[num_factors:])
