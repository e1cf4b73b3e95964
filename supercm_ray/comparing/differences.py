"""Which lines of several entries can be compared, and the tests of their differences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supercm_ray.comparing.entry import Entry, Line
from supercm_ray.errors import SuperCMError
from supercm_ray.records import read_arrays
from supercm_ray.reporting.significance import Difference, SquaredError, corrected_all, difference

_ARMS = {"tuned", "baseline"}


@dataclass(frozen=True)
class Pair:
    """Two lines of different entries and the difference of their accuracies, the second minus the first.

    Attributes:
        with_samples: whether interval and test include the error from the choice of the test samples.
    """

    first: Line
    second: Line
    difference: Difference
    with_samples: bool


def pairs_of(entries: Sequence[Entry]) -> list[Pair]:
    """Tests the differences between all lines that can be compared, corrected for their number."""
    pairs = [pair for one, other in itertools.combinations(entries, 2) for pair in _between(one, other)]
    corrected = corrected_all([pair.difference for pair in pairs])
    return [
        Pair(pair.first, pair.second, found, pair.with_samples) for pair, found in zip(pairs, corrected, strict=True)
    ]


def obstacles(entries: Sequence[Entry]) -> list[str]:
    """Says of each two entries that cannot be compared why."""
    return [
        f"{one.letter} and {other.letter} cannot be compared: {reason}"
        for one, other in itertools.combinations(entries, 2)
        if (reason := _obstacle(one, other))
    ]


def _obstacle(one: Entry, other: Entry) -> str:
    for entry in (one, other):
        if not entry.lines:
            return f"no run of {entry.letter} has finished whose accuracy could be compared."
    reasons = [_reason(a, b) for a in one.lines for b in other.lines]
    if all(reasons):
        return str(reasons[0])
    return ""


def _between(one: Entry, other: Entry) -> Iterator[Pair]:
    for first in one.lines:
        for second in other.lines:
            if not _reason(first, second):
                error = _error_of_samples(first, second)
                found = difference(first.accuracies, second.accuracies, of_samples=error)
                yield Pair(first, second, found, error is not None)


def _reason(first: Line, second: Line) -> str:
    """Says why two lines cannot be compared; empty if they can."""
    if reason := _other_data(first, second):
        return reason
    labels = [(line.label_budget, line.num_labeled) for line in (first, second)]
    if labels[0] != labels[1]:
        budgets = " and ".join(f"{budget} labels ({labeled} trained on)" for budget, labeled in labels)
        return f"no line of the one uses as many labels as one of the other, such as {budgets}."
    if {first.arm, second.arm} == _ARMS:
        return "the one has only tuned finalists and the other only baselines."
    shared = first.group.keys() & second.group.keys()
    if any(first.group[path] != second.group[path] for path in shared):
        return f"their groups differ in {', '.join(sorted(shared))}."
    return ""


def _other_data(first: Line, second: Line) -> str:
    names = f"{first.data_name} and {second.data_name}"
    if first.data_name != second.data_name:
        return f"they use other data sets, {names}."
    one, other = first.digest, second.digest
    if one and other and one.data != other.data:
        return f"the samples or labels of {first.data_name} are others (digests {one.data[:8]} and {other.data[:8]})."
    if first.split != second.split:
        return "the one was tested on the test split, and the other has accuracies of the validation split alone."
    if one and other and one.digest != other.digest:
        return f"their test splits have other samples (digests {one.digest} and {other.digest})."
    return ""


def _error_of_samples(first: Line, second: Line) -> SquaredError | None:
    """Returns the squared error of the difference from the choice of the test samples; None if the predictions of a
    run are not at hand.
    """
    shared = first.accuracies.keys() & second.accuracies.keys()
    sides = [_correct(line.predictions, shared or set(line.accuracies)) for line in (first, second)]
    if sides[0] is None or sides[1] is None or sides[0].shape != sides[1].shape or len(sides[0]) < 2:
        return None
    gains_N = sides[1] - sides[0]
    return SquaredError(float(gains_N.var(ddof=1)) / len(gains_N), len(gains_N) - 1)


def _correct(files: Mapping[int, Path], seeds: set[int]) -> npt.NDArray[np.float64] | None:
    """Returns for each test sample the fraction of seeds that have it right (N,)."""
    found = []
    for seed in seeds:
        try:
            arrays = read_arrays(files[seed], "it is compared without them")
        except (KeyError, SuperCMError):  # there is none, or it is damaged, which the study's own report tells
            return None
        if "labels" not in arrays or not len(arrays["labels"]):
            return None
        found.append(arrays["labels"] == arrays["predictions"])
    return np.mean(found, axis=0) if len({len(one) for one in found}) == 1 else None
