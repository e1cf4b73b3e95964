"""Differences of accuracies over seeds: intervals, tests, and their correction for the number of tests.

A mean over seeds varies for two reasons, other seeds and other test samples. The squared standard error of a difference
is therefore the sum of the variance over seeds and of that over test samples, each divided by its number, with the
degrees of freedom of Welch (1947) and Satterthwaite (1946). Without the second part the tests are the paired t-test and
Welch's.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy import stats

LEVEL = 0.95
"""Confidence of the intervals; a difference is shown where its corrected p-value is below what is left to 1."""

Verdict = Literal["above", "below", "not shown"]


@dataclass(frozen=True)
class SquaredError:
    """A part of a squared standard error.

    Attributes:
        value: variance divided by the number of observations.
        df: degrees of freedom of the variance.
    """

    value: float
    df: float


@dataclass(frozen=True)
class Difference:
    """The difference of two means of accuracies, the second minus the first, from -1 to 1.

    Attributes:
        mean: the difference; of the shared seeds alone if there are any.
        num_seeds: number of shared seeds, or of those of the smaller side if none is shared.
        is_paired: whether seeds are shared.
        interval: bounds at `LEVEL`; None with a single seed, and where nothing varies.
        p_value: two-sided, that of no difference; None likewise.
        corrected: p-value corrected for the number of tests; that of `p_value` before `corrected_all`.
    """

    mean: float
    num_seeds: int
    is_paired: bool
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    corrected: float | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the means are shown to differ."""
        return self.corrected is not None and self.corrected < 1 - LEVEL

    @property
    def verdict(self) -> Verdict:
        """Whether the second mean is shown to lie above or below the first."""
        if not self.is_shown:
            return "not shown"
        return "above" if self.mean > 0 else "below"


def difference(
    first: Mapping[int, float], second: Mapping[int, float], *, of_samples: SquaredError | None = None
) -> Difference:
    """Tests the difference of two accuracies over seeds: paired where they share seeds, as Welch does where not.

    Args:
        first: the accuracy of each seed, from 0 to 1, of the one side.
        second: those of the other.
        of_samples: the squared error of their difference from the choice of the test samples, if it is known.

    Raises:
        ValueError: if a side is empty.
    """
    if not first or not second:
        raise ValueError("each side must have an accuracy, got none")
    shared = sorted(first.keys() & second.keys())
    if shared:
        return paired([second[seed] - first[seed] for seed in shared], of_samples=of_samples)
    mean = statistics.mean(second.values()) - statistics.mean(first.values())
    found = Difference(mean, min(len(first), len(second)), is_paired=False)
    return _tested(found, [_error(list(first.values())), _error(list(second.values()))], of_samples)


def paired(gains: Sequence[float], *, of_samples: SquaredError | None = None) -> Difference:
    """Tests the mean of differences, one for each seed, from -1 to 1; at least one."""
    return _tested(Difference(statistics.mean(gains), len(gains), is_paired=True), [_error(gains)], of_samples)


def mean_interval(values: Sequence[float], *, num_samples: int | None = None) -> tuple[float, float] | None:
    """Returns the bounds, at `LEVEL`, of the mean of an accuracy over seeds; None for a single seed.

    Args:
        values: the accuracy of each seed, from 0 to 1.
        num_samples: number of samples on which each was measured, the same for all; None leaves the error of their
            choice out.
    """
    of_seeds = _error(values)
    if of_seeds is None:
        return None
    mean = statistics.mean(values)
    parts = [of_seeds, *([SquaredError(mean * (1 - mean) / num_samples, num_samples - 1)] if num_samples else [])]
    half = _half_width(parts)
    return max(0.0, mean - half), min(1.0, mean + half)


def corrected_all(differences: Sequence[Difference]) -> list[Difference]:
    """Corrects the p-values for their number, such that the expected fraction of false ones among those below a bound
    is below it (Benjamini and Hochberg 1995).
    """
    known = [one.p_value for one in differences if one.p_value is not None]
    found = iter(stats.false_discovery_control(known).tolist() if known else ())
    return [one if one.p_value is None else replace(one, corrected=next(found)) for one in differences]


def _error(values: Sequence[float]) -> SquaredError | None:
    """Returns the squared error of a mean over seeds; None for a single one, which says nothing about it."""
    if len(values) < 2:
        return None
    return SquaredError(statistics.variance(values) / len(values), len(values) - 1)


def _tested(found: Difference, of_seeds: Sequence[SquaredError | None], of_samples: SquaredError | None) -> Difference:
    """Returns the difference with interval and p-value; without them for a single seed, and if nothing is known to
    vary, as where each of two seeds gains one sample.
    """
    parts = [part for part in (*of_seeds, of_samples) if part is not None]
    if None in of_seeds:
        return found
    error, half = math.sqrt(sum(part.value for part in parts)), _half_width(parts)
    if not error:
        return found
    p_value = float(2 * stats.t.sf(abs(found.mean) / error, _degrees(parts)))
    return replace(found, interval=(found.mean - half, found.mean + half), p_value=p_value, corrected=p_value)


def _half_width(parts: Sequence[SquaredError]) -> float:
    error = math.sqrt(sum(part.value for part in parts))
    return error * float(stats.t.ppf((1 + LEVEL) / 2, _degrees(parts))) if error else 0.0


def _degrees(parts: Sequence[SquaredError]) -> float:
    """Returns the degrees of freedom of a sum of squared errors."""
    total = sum(part.value for part in parts)
    if not total:
        return 1.0
    return float(total**2 / sum(part.value**2 / part.df for part in parts if part.df > 0))
