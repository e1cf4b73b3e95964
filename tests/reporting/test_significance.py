"""Tests of differences over seeds, against scipy, known examples and simulated experiments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from supercm_ray.reporting.significance import (
    Difference,
    SquaredError,
    corrected_all,
    difference,
    mean_interval,
)

FIRST = {1: 0.60, 2: 0.64, 3: 0.61, 4: 0.58}
SECOND = {1: 0.66, 2: 0.67, 3: 0.65, 4: 0.66}


def test_shared_seeds_are_paired() -> None:
    found = difference(FIRST, SECOND)
    oracle = stats.ttest_rel(list(SECOND.values()), list(FIRST.values()))
    assert (found.is_paired, found.num_seeds) == (True, 4)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(oracle.confidence_interval(0.95)), rel=1e-9)
    assert found.verdict == "above"
    assert difference(SECOND, FIRST).verdict == "below"


def test_only_shared_seeds_are_paired() -> None:
    found = difference({**FIRST, 9: 0.1}, {**SECOND, 8: 0.9})
    assert found == difference(FIRST, SECOND)


def test_other_seeds_are_compared_as_welch_does() -> None:
    others = {seed + 10: value for seed, value in SECOND.items() if seed != 4}
    found = difference(FIRST, others)
    oracle = stats.ttest_ind(list(others.values()), list(FIRST.values()), equal_var=False)
    assert (found.is_paired, found.num_seeds) == (False, 3)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(oracle.confidence_interval(0.95)), rel=1e-9)


def test_single_seed_shows_nothing() -> None:
    found = difference({1: 0.5}, {1: 0.9})
    assert (found.mean, found.p_value, found.interval, found.verdict) == (0.4, None, None, "not shown")
    assert difference({1: 0.5}, {2: 0.9, 3: 0.9}).p_value is None
    assert mean_interval([0.5]) is None


def test_side_without_accuracy_is_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        difference({}, {1: 0.5})


def test_equal_accuracies_differ_in_nothing() -> None:
    found = difference(FIRST, FIRST)
    assert (found.mean, found.p_value, found.verdict) == (0.0, None, "not shown")


def test_error_of_samples_widens_the_interval() -> None:
    alike = difference({1: 0.5, 2: 0.6}, {1: 0.51, 2: 0.61})
    honest = difference({1: 0.5, 2: 0.6}, {1: 0.51, 2: 0.61}, of_samples=SquaredError(0.0004, 179))
    assert alike.p_value is None, "the same gain on both seeds says nothing about how gains vary"
    assert honest.verdict == "not shown"
    assert honest.interval is not None
    assert honest.interval[0] == pytest.approx(0.01 - 0.02 * stats.t.ppf(0.975, 179), rel=1e-6)


def test_correction_is_that_of_scipy() -> None:
    ps = [0.001, 0.02, 0.03, 0.8]
    found = corrected_all([Difference(1, 3, True, (0, 1), p, p) for p in (ps[0], ps[1], ps[2], ps[3])])
    assert [one.corrected for one in found] == pytest.approx(stats.false_discovery_control(ps).tolist())
    assert corrected_all([difference({1: 0.5}, {1: 0.9})])[0].corrected is None


@pytest.mark.parametrize("num_samples", [50, 1000])
def test_intervals_cover_true_accuracy(num_samples: int) -> None:
    """Seeds vary by 3 points, and every seed is tested on the same samples: bounds hold the truth as often as they say.
    Without the error of the samples they do not.
    """
    draws, found = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(400):
        difficulty = draws.uniform(size=num_samples)  # a seed of quality q has every sample below it right
        qualities = draws.normal(0.7, 0.03, size=5)
        accuracies = [float((difficulty < quality).mean()) for quality in qualities]
        for honest in found:
            low, high = mean_interval(accuracies, num_samples=num_samples if honest else None) or (0, 0)
            found[honest] += low <= 0.7 <= high
    assert found[True] >= 0.93 * 400
    assert num_samples > 50 or found[False] < 0.75 * 400
