"""The study's table and its headline as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from supercm_ray.config import AlgorithmConfig, Study
from supercm_ray.reporting.tables import value_text
from supercm_ray.search import Group
from supercm_ray.search.finalists import BASELINE, TUNED, Row

HEADINGS = ("labels", "all labels", "arm", "val %", "test %", "seeds", "gain, points")
"""Headings of the table's columns besides the group and the parameters. `all labels` includes those for validation."""


def headline(study: Study, rows: Sequence[Row], training_labels: Mapping[Group, int] | None = None) -> str:
    """Describes the study's result in one sentence, for the group with the fewest labels.

    Args:
        study: the study.
        rows: its table.
        training_labels: number of labels trained on by group, if known; otherwise the sentence gives all labels.
    """
    tuned = [row for row in rows if row.arm == TUNED]
    if not tuned:
        return f"No tuned finalist of {study.name} has finished yet, so there is no result."
    row = min(tuned, key=lambda row: (row.label_budget, -row.val_accuracy[0]))
    labels = (training_labels or {}).get(row.group)
    budget = f"{row.label_budget} labels (those for validation included)"
    count = budget if labels is None else f"{labels} training labels"
    reached = f"With {count}, {_subject(study, row)} reaches {_reached(study, row)}"
    return f"{reached}{_comparison(study, row)}{_elsewhere(tuned)}."


def _reached(study: Study, row: Row) -> str:
    if row.test_accuracy is None:
        whose = "the validation split" if study.base.data.target is None else "the source's validation split"
        return f"{percent(row.val_accuracy)} % on {whose}, since there is no test split"
    return f"{percent(row.test_accuracy)} % on the test split"


def table_text(study: Study, rows: Sequence[Row], training_labels: Mapping[Group, int] | None = None) -> str:
    """Formats the table as plain text, at most 110 columns wide."""
    if not rows:
        return "no finalist has finished yet"
    lines = [(*study.group_paths, *HEADINGS), *(_cells(row, training_labels or {}) for row in rows)]
    first = 110 - sum(max(len(line[i]) for line in lines) + 2 for i in range(len(study.group_paths), len(lines[0])))
    lines = [_shorten(line, len(study.group_paths), first) for line in lines]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    note = "mean ± standard deviation over seeds; all labels = for training and for validation; gain paired by seed"
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:], note])


def markdown(study: Study, rows: Sequence[Row]) -> str:
    """Returns the headline and the table as Markdown."""
    training_labels = {row.group: row.num_labeled for row in rows}
    lines = [(*study.group_paths, *HEADINGS), *(_cells(row, training_labels) for row in rows)]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([headline(study, rows, training_labels), "", table[0], "|---" * len(lines[0]) + "|", *table[1:]])


def percent(value: tuple[float, float]) -> str:
    """Formats mean and standard deviation in percent, without the latter if it has no value."""
    mean, std = value
    return f"{100 * mean:.1f}" if math.isnan(std) else f"{100 * mean:.1f} ± {100 * std:.1f}"


def gain(row: Row) -> tuple[float, float] | None:
    """Computes mean and standard deviation of the gains; None if there is no pair."""
    if not row.gains:
        return None
    return statistics.mean(row.gains), statistics.stdev(row.gains) if len(row.gains) > 1 else math.nan


def gain_text(row: Row) -> str:
    """Formats the gain in points, signed, with the number of pairs if it is not that of the runs."""
    found = gain(row)
    if found is None:
        return "–"
    sign = "+" if round(100 * found[0], 1) > 0 else ""
    pairs = f" ({len(row.gains)} of {row.num_runs} seeds)" if len(row.gains) != row.num_runs else ""
    return f"{sign}{percent(found)}{pairs}".replace("-", "−")


def seeds_text(row: Row) -> str:
    """Formats how many seeds finished, and of how many if some did not."""
    return str(row.num_runs) if row.num_runs == row.num_seeds else f"{row.num_runs} of {row.num_seeds}"


def group_text(study: Study, group: Group) -> str:
    """Formats a group, as `all trials` if the study has no group path."""
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
        return "; no baseline run has finished there" if study.baseline else "; the study has no baseline"
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
        "–" if row.test_accuracy is None else percent(row.test_accuracy),
        seeds_text(row),
        "" if row.arm == BASELINE else gain_text(row),
    )


def _shorten(line: tuple[str, ...], num_group_paths: int, room: int) -> tuple[str, ...]:
    """Shortens the cells of group paths from the left until they fit into `room`."""
    if not num_group_paths:
        return line
    width = max(4, room // num_group_paths - 2)
    cut = (cell if len(cell) <= width else f"…{cell[1 - width :]}" for cell in line[:num_group_paths])
    return (*cut, *line[num_group_paths:])
