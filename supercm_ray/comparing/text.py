"""A comparison as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from supercm_ray.comparing.differences import Pair
from supercm_ray.comparing.entry import Cost, Entry, Line
from supercm_ray.config import Leaf
from supercm_ray.reporting.significance import LEVEL, mean_interval
from supercm_ray.reporting.tables import aligned, mean_std, points, value_text

LINE_HEADINGS = ("", "arm", "labels", "all labels", "accuracy %", "interval %", "seeds", "group")
PAIR_HEADINGS = ("", "arm", "all labels", "points", "interval", "seeds", "p", "corrected p", "shown")
_BRIEF_HEADINGS = (*PAIR_HEADINGS[:-3], "p", "shown")
COST_HEADINGS = ("", "trials", "runs compared", "training", "worker hours", "GPU hours")
_HOUR_S = 3600.0
_SPLITS = {"test": "the test split", "val": "the validation split"}


def comparison_text(entries: Sequence[Entry], pairs: Sequence[Pair], obstacles: Sequence[str]) -> str:
    """Formats a comparison for a terminal, 80 columns wide where the names of groups and settings are short."""
    parts = [
        "\n".join(f"{entry.letter}  {entry.title}" for entry in entries),
        "\n".join(obstacles),
        _table([LINE_HEADINGS, *(line_cells(line) for entry in entries for line in entry.lines)]),
        _table([_BRIEF_HEADINGS, *(_brief(pair_cells(pair)) for pair in pairs)]),
        "\n".join(notes(entries, pairs)),
        _table([("setting that differs", *(entry.letter for entry in entries)), *differing_settings(entries)]),
        _table([COST_HEADINGS, *(cost_cells(entry.letter, entry.cost) for entry in entries)]),
    ]
    return "\n\n".join(part for part in parts if part)


def _brief(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Leaves out the uncorrected p-value, for which a terminal has no room."""
    return (*cells[:-3], *cells[-2:])


def line_cells(line: Line) -> tuple[str, ...]:
    """Returns the cells of a line under `LINE_HEADINGS`; accuracies are in percent."""
    values = list(line.accuracies.values())
    return (
        line.name,
        line.arm,
        str(line.num_labeled),
        str(line.label_budget),
        mean_std(values),
        interval_text(interval_of(line), signed=False),
        str(len(values)),
        params_text(line.group) or (params_text(line.params) if line.name != line.entry else "all"),
    )


def interval_of(line: Line) -> tuple[float, float] | None:
    """Returns the bounds of a line's mean accuracy, from 0 to 1; None for a single seed."""
    num_samples = line.digest.num_samples if line.digest else None
    return mean_interval(list(line.accuracies.values()), num_samples=num_samples)


def pair_cells(pair: Pair) -> tuple[str, ...]:
    """Returns the cells of a pair under `PAIR_HEADINGS`; differences are in points of percent."""
    found, arms = pair.difference, dict.fromkeys((pair.first.arm, pair.second.arm))
    return (
        _names(pair),
        ", ".join(arms),
        str(pair.first.label_budget),
        points(found.mean),
        interval_text(found.interval, signed=True),
        f"{found.num_seeds} {'pairs' if found.is_paired else 'each'}",
        _p_text(found.p_value),
        _p_text(found.corrected),
        _shown(pair),
    )


def _shown(pair: Pair) -> str:
    verdict = pair.difference.verdict
    return verdict if verdict == "not shown" else f"{pair.second.name} {verdict} {pair.first.name}"


def _names(pair: Pair) -> str:
    return f"{pair.second.name} - {pair.first.name}"


def notes(entries: Sequence[Entry], pairs: Sequence[Pair]) -> list[str]:
    """Says how the figures were made, and what they leave out."""
    lines = [line for entry in entries for line in entry.lines]
    found = []
    if lines:
        splits = {line.split for line in lines}
        where = _SPLITS[splits.pop()] if len(splits) == 1 else "test or validation"
        found.append(f"Accuracy: mean ± standard deviation over seeds on {where}, interval of {LEVEL:.0%}.")
    validated = ", ".join(dict.fromkeys(line.entry for line in lines if line.split == "val"))
    if validated:
        found.append(f"{validated}: accuracies are of the validation split, which chose the parameters.")
    if pairs:
        found.append(
            "Differences: t-test on shared seeds, Welch's where none is shared; p corrected for the number of tests "
            f"(Benjamini and Hochberg); shown where it is below {1 - LEVEL:.2f}."
        )
        without = [pair for pair in pairs if not pair.with_samples and pair.difference.p_value is not None]
        if without:
            names = ", ".join(dict.fromkeys(map(_names, without)))
            found.append(f"{names}: without the error from the choice of test samples, whose predictions are not here.")
    if any(line.digest is None for line in lines):
        found.append("Whether all were tested on the same samples is not known, since the splits of some are not here.")
    return found


def differing_settings(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Returns the settings that differ between entries, with the value in each; `varied` where an entry varies it."""
    paths = dict.fromkeys(path for entry in entries for path in entry.settings)
    rows = [(path, *(_setting(entry, path) for entry in entries)) for path in paths]
    return [row for row in rows if len(set(row[1:])) > 1]


def _setting(entry: Entry, path: str) -> str:
    if path in entry.settings:
        return value_text(entry.settings[path])
    return "varied" if entry.lines or entry.trials else "–"


def cost_cells(letter: str, cost: Cost) -> tuple[str, ...]:
    """Returns the cells of an entry under `COST_HEADINGS`."""
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(cost.trials.items()))
    return (
        letter,
        statuses or "–",
        str(cost.num_finished),
        _duration(cost.seconds),
        _hours(cost.worker_seconds),
        _hours(cost.gpu_seconds),
    )


def params_text(params: Mapping[str, Leaf]) -> str:
    """Formats parameters for one line."""
    return ", ".join(f"{path}={value_text(value)}" for path, value in params.items())


def interval_text(interval: tuple[float, float] | None, *, signed: bool) -> str:
    """Formats bounds from 0 to 1 in percent, or in signed points."""
    if interval is None:
        return "–"
    low, high = (points(bound) if signed else f"{100 * bound:.1f}" for bound in interval)
    return f"{low} to {high}"


def _p_text(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"


def _hours(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / _HOUR_S:.3g}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return aligned(rows) if len(rows) > 1 else ""
