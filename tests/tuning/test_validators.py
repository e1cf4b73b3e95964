"""Rank correlations of metrics with the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest

from supercm_ray.records import RunRecord, RunView
from supercm_ray.training import VALIDATORS
from supercm_ray.tuning.report.validators import rank_correlation, rank_correlations

NAMES = ("val/accuracy", "val/loss", "target/entropy", "target/information_maximisation", "target/snd")


def view(number: int, oracle: float | None, status: str = "complete", **changes: float) -> RunView:
    record = RunRecord(f"trials/{number:04d}", "trial", {}, {}, 1, status=status)
    metrics = {"epoch": 3, **dict.fromkeys(NAMES, 0.5), "target/distortion": changes.pop("distortion", 0.5), **changes}
    return RunView(record, [metrics if oracle is None else {**metrics, "oracle/accuracy": oracle}])


def values(trials: list[RunView]) -> dict[str, float]:
    return {name: one.value for name, one in rank_correlations(trials).items()}


def test_a_metric_of_which_less_is_better_is_turned() -> None:
    trials = [view(i, oracle, distortion=1 - oracle) for i, oracle in enumerate([0.1, 0.4, 0.3, 0.9])]
    assert values(trials) == {"target/distortion": pytest.approx(1.0)}


def test_a_metric_of_one_s_own_is_ranked_by_its_direction() -> None:
    VALIDATORS.add("unlabeled/doubt", lambda outputs, centroids, seen: 0.0, direction="minimize")
    try:
        trials = [view(i, oracle, **{"unlabeled/doubt": -oracle}) for i, oracle in enumerate([0.1, 0.4, 0.3, 0.9])]
        assert values(trials) == {"unlabeled/doubt": pytest.approx(1.0)}
        assert rank_correlations([*trials, view(9, 0.5)]) == {}, "one trial was run without it"
    finally:
        VALIDATORS.remove("unlabeled/doubt")


def test_ranks_and_not_values_count_and_the_best_comes_first() -> None:
    oracles = [0.1, 0.2, 0.3, 0.4, 0.5]
    snd = [1.0, 10.0, 100.0, 1e3, 1e4]
    accuracy = [0.1, 0.3, 0.2, 0.5, 0.4]
    trials = [
        view(i, oracle, **{"target/snd": s, "val/accuracy": a})
        for i, (oracle, s, a) in enumerate(zip(oracles, snd, accuracy, strict=True))
    ]
    found = values(trials)
    assert list(found) == ["target/snd", "val/accuracy"]
    assert found["target/snd"] == pytest.approx(1.0)
    assert found["val/accuracy"] == pytest.approx(1 - 6 * 4 / (5 * 24))


def test_trials_are_counted_beside_the_correlation() -> None:
    trials = [view(i, i / 10, distortion=1 - i / 10) for i in range(7)] + [view(7, 0.9, "pruned")]
    (found,) = rank_correlations(trials).values()
    assert found.num_trials == 7
    assert (found.value, found.high) == (pytest.approx(1.0), pytest.approx(1.0))
    assert 0.5 < found.low < 0.95


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("num_trials", [6, 20])
def test_intervals_hold_the_true_correlation(num_trials: int, correlation: float) -> None:
    """Of normal values, whose rank correlation is 6 / pi asin(r / 2)."""
    generator, truth = np.random.default_rng(0), 6 / math.pi * math.asin(correlation / 2)
    held = 0
    for _ in range(400):
        first, other = generator.standard_normal((2, num_trials))
        found = rank_correlation(first, correlation * first + math.sqrt(1 - correlation**2) * other)
        held += found.low <= truth <= found.high
    assert held >= 0.92 * 400, held


def test_four_trials_show_next_to_nothing() -> None:
    found = rank_correlation([1, 2, 3, 4], [2, 3, 4, 5])
    assert (found.value, found.low < -0.5, found.high) == (pytest.approx(1.0), True, pytest.approx(1.0))
    turned = rank_correlation([1, 2, 3, 4], [5, 4, 3, 2])
    assert (turned.low, turned.high) == (pytest.approx(-1.0), pytest.approx(-found.low))


def test_without_an_oracle_or_enough_trials_there_is_nothing_to_say() -> None:
    assert rank_correlations([view(i, None) for i in range(5)]) == {}
    assert rank_correlations([view(i, i / 10, distortion=float(i)) for i in range(3)]) == {}
    stopped = [view(i, i / 10, "pruned", distortion=float(i)) for i in range(9)]
    assert rank_correlations(stopped) == {}
