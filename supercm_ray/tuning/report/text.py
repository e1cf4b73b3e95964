"""The study's table and its headline as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from supercm_ray.config import AlgorithmConfig, Study
from supercm_ray.reporting.significance import LEVEL, Difference, corrected_all, paired
from supercm_ray.reporting.tables import points, value_text
from supercm_ray.search import Choice, Group, default_overrides
from supercm_ray.search.finalists import BASELINE, TUNED, Row
from supercm_ray.tuning.report.choices import choices_text
from supercm_ray.tuning.report.groups import narrowed

HEADINGS = ("labels", "all labels", "arm", "val %", "test %", "seeds", "gain, points")
"""Headings of the table's columns besides the group and the parameters. `all labels` includes those for validation."""

SHOWN = f"* shown by a paired t-test over seeds, corrected for the number of gains (p < {1 - LEVEL:.2f})"
"""What the mark of a gain means."""


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
    tested = tested_gains(rows)
    row = min(tuned, key=lambda row: (row.label_budget, -row.val_accuracy[0]))
    labels = (training_labels or {}).get(row.group)
    budget = f"{row.label_budget} labels (those for validation included)"
    count = budget if labels is None else f"{labels} training labels"
    reached = f"With {count}, {_subject(study, row)} reaches {_reached(study, row)}"
    return f"{reached}{_comparison(study, row, tested.get(row.group))}{_elsewhere(tuned, tested)}."


def _reached(study: Study, row: Row) -> str:
    if row.test_accuracy is None:
        whose = "the validation split" if study.base.data.target is None else "the source's validation split"
        return f"{percent(row.val_accuracy)} % on {whose}, since there is no test split"
    return f"{percent(row.test_accuracy)} % on the test split"


def table_text(study: Study, rows: Sequence[Row], training_labels: Mapping[Group, int] | None = None) -> str:
    """Formats the table as plain text, at most 110 columns wide."""
    if not rows:
        return "no finalist has finished yet"
    tested = tested_gains(rows)
    lines = [(*study.group_paths, *HEADINGS), *(_cells(row, training_labels or {}, tested) for row in rows)]
    lines = narrowed(lines, len(study.group_paths), 110)
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    note = "mean ± standard deviation over seeds; all labels = for training and for validation; gain paired by seed"
    shown = [SHOWN] if any(one.is_shown for one in tested.values()) else []
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:], note, *shown])


def markdown(study: Study, rows: Sequence[Row], choices: Sequence[Choice] = ()) -> str:
    """Returns the headline, the table, and how the parameters were chosen as Markdown."""
    training_labels = {row.group: row.num_labeled for row in rows}
    tested = tested_gains(rows)
    lines = [(*study.group_paths, *HEADINGS), *(_cells(row, training_labels, tested) for row in rows)]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    found = [headline(study, rows, training_labels), "", table[0], "|---" * len(lines[0]) + "|", *table[1:]]
    shown = ["", f"\\{SHOWN}"] if any(one.is_shown for one in tested.values()) else []
    chosen = ["", "```", choices_text(study, choices), "```"] if choices else []
    return "\n".join([*found, *shown, *chosen])


def percent(value: tuple[float, float]) -> str:
    """Formats mean and standard deviation in percent, without the latter if it has no value."""
    mean, std = value
    return f"{100 * mean:.1f}" if math.isnan(std) else f"{100 * mean:.1f} ± {100 * std:.1f}"


def gain(row: Row) -> tuple[float, float] | None:
    """Computes mean and standard deviation of the gains; None if there is no pair."""
    if not row.gains:
        return None
    return statistics.mean(row.gains), statistics.stdev(row.gains) if len(row.gains) > 1 else math.nan


def tested_gains(rows: Sequence[Row]) -> dict[Group, Difference]:
    """Tests the gain of each group that has one, corrected for their number."""
    gains = {row.group: row.gains for row in rows if row.gains}
    return dict(zip(gains, corrected_all([paired(one) for one in gains.values()]), strict=True))


def gain_text(row: Row, tested: Mapping[Group, Difference]) -> str:
    """Formats the gain in points, signed, with the number of pairs if it is not that of the runs, and a mark if it is
    shown.
    """
    found = gain(row)
    if found is None:
        return "–"
    sign = "+" if round(100 * found[0], 1) > 0 else ""
    pairs = f" ({len(row.gains)} of {row.num_runs} seeds)" if len(row.gains) != row.num_runs else ""
    mark = " *" if tested[row.group].is_shown else ""
    return f"{sign}{percent(found)}{pairs}{mark}".replace("-", "−")


def seeds_text(row: Row) -> str:
    """Formats how many seeds finished, and of how many if some did not."""
    return str(row.num_runs) if row.num_runs == row.num_seeds else f"{row.num_runs} of {row.num_seeds}"


def _subject(study: Study, row: Row) -> str:
    algorithm = study.base.replace(row.overrides).algorithm
    is_default = study.num_candidates > 1 and row.overrides == default_overrides(study, row.group)
    how = "untuned" if is_default else "tuned"
    if algorithm.clustering_weight == 0:
        return f"{how} {algorithm.name} without the clustering loss"
    return f"{how} SuperCM" if algorithm.name == AlgorithmConfig().name else f"{how} {algorithm.name} with SuperCM"


def _comparison(study: Study, row: Row, tested: Difference | None) -> str:
    if tested is None:
        return "; no baseline run has finished there" if study.baseline else "; the study has no baseline"
    size, side = abs(100 * tested.mean), "above" if tested.mean > 0 else "below"
    if tested.is_shown:
        return f", {size:.1f} points {side} its baseline ({_interval(tested)} over {tested.num_seeds} seeds)"
    if tested.interval is None:
        return f", {size:.1f} points {side} its baseline, which {_seeds(tested)} cannot show"
    return f"; a difference from its baseline is not shown ({_interval(tested)} points over {tested.num_seeds} seeds)"


def _interval(tested: Difference) -> str:
    assert tested.interval is not None
    low, high = map(points, tested.interval)
    return f"{low} to {high}"


def _seeds(tested: Difference) -> str:
    return "one seed" if tested.num_seeds == 1 else f"{tested.num_seeds} seeds with the same difference"


def _elsewhere(tuned: Sequence[Row], tested: Mapping[Group, Difference]) -> str:
    means = [tested[row.group].mean for row in tuned if row.group in tested]
    if len(means) < 2:
        return ""
    num_shown = sum(one.is_shown for one in tested.values())
    return (
        f"; over the {len(means)} groups compared the gain ranges from {points(min(means))} to {points(max(means))} "
        f"points and is shown in {num_shown}"
    )


def _cells(row: Row, training_labels: Mapping[Group, int], tested: Mapping[Group, Difference]) -> tuple[str, ...]:
    labels = training_labels.get(row.group)
    return (
        *map(value_text, row.group),
        "–" if labels is None else str(labels),
        str(row.label_budget),
        row.arm,
        percent(row.val_accuracy),
        "–" if row.test_accuracy is None else percent(row.test_accuracy),
        seeds_text(row),
        "" if row.arm == BASELINE else gain_text(row, tested),
    )
