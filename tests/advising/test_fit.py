"""Learning curves of known truth are found again, and as often as promised within the intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from supercm_ray.advising.curves import Curves, grid
from supercm_ray.advising.fit import LEVEL, fit_curve

COUNTS = (20, 40, 80, 160, 320)


def noisy(
    generator: np.random.Generator, exponent: float, asymptote: float, *, are_shared: bool
) -> dict[int, list[float]]:
    """Errors of three seeds on a power law with an asymptote, with an offset of each number of labels; seeds are as
    lucky with each number, or their luck differs.
    """
    found, luck = {}, generator.standard_normal(3)
    for count in COUNTS:
        error = truth(count, exponent, asymptote) * math.exp(0.02 * generator.standard_normal())
        luck = luck if are_shared else generator.standard_normal(3)
        found[count] = (error * np.exp(0.06 * luck)).clip(0, 1).tolist()
    return found


def truth(count: float, exponent: float, asymptote: float) -> float:
    return 0.3 * (asymptote + (1 - asymptote) * (count / COUNTS[-1]) ** -exponent)


@pytest.mark.parametrize("are_shared", [False, True], ids=["own luck", "shared luck"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_intervals_cover_the_truth_beyond_the_points(factor: int, are_shared: bool) -> None:
    generator = np.random.default_rng(factor)
    of_error, of_labels = [], []
    for _ in range(60):
        exponent, asymptote = generator.choice([0.25, 0.4, 0.6]), generator.choice([0.0, 0.1, 0.3])
        fit = fit_curve(noisy(generator, exponent, asymptote, are_shared=are_shared))
        wanted = truth(factor * COUNTS[-1], exponent, asymptote)
        error, labels = fit.error(factor * COUNTS[-1]), fit.num_labels(wanted)
        of_error.append(error.low <= wanted <= error.high)
        of_labels.append(labels.low <= factor * COUNTS[-1] <= labels.high)
    assert np.mean(of_error) >= LEVEL - 0.05
    assert np.mean(of_labels) >= LEVEL - 0.05


def test_intervals_are_no_wider_far_than_they_must_be() -> None:
    """With many seeds and a curve that is plain, the number for a little less error is known within a factor."""
    exact = {count: [truth(count, 0.5, 0.0)] * 20 for count in COUNTS}
    found = fit_curve(exact).num_labels(truth(1.5 * COUNTS[-1], 0.5, 0.0))
    assert 1.3 * COUNTS[-1] < found.low < 1.5 * COUNTS[-1] < found.high < 6 * COUNTS[-1]
    assert found.low < found.value < found.high


def test_more_uncertain_points_and_targets_give_wider_intervals() -> None:
    wide, narrow = (
        {count: [truth(count, 0.5, 0.0) * factor for factor in (1 - spread, 1 + spread)] for count in COUNTS}
        for spread in (0.3, 0.01)
    )
    widths = [fit_curve(one).error(1000) for one in (wide, narrow)]
    assert widths[0].high - widths[0].low > 1.2 * (widths[1].high - widths[1].low)
    far, near = (fit_curve(narrow).num_labels(truth(count, 0.5, 0.0)) for count in (2000, 500))
    assert far.high / far.low > near.high / near.low


def test_a_plateau_to_come_widens_upwards_alone() -> None:
    exact = {count: [truth(count, 0.5, 0.0)] * 20 for count in COUNTS}
    without, with_one = (fit_curve(exact, plateau=one).num_labels(truth(640, 0.5, 0.0)) for one in (0.0, 0.2))
    assert with_one.high > 2 * without.high
    assert with_one.low == pytest.approx(without.low, rel=0.05)


def test_an_asymptote_is_not_passed() -> None:
    plateau = {count: [0.3 * (0.9 + 0.1 * (count / 320) ** -1.5)] * 10 for count in (20, 40, 80, 160, 320, 640, 1280)}
    fit = fit_curve(plateau)
    assert fit.num_labels(0.1).value == math.inf
    assert fit.reached(0.1) < 0.5
    assert fit.asymptote.low > 0.1
    assert fit.weights["power + asymptote"] + fit.weights["shifted power + asymptote"] > 0.9


def test_a_number_of_labels_and_its_error_belong_together() -> None:
    curves, log_prior = grid(320)
    assert np.exp(log_prior).sum() == pytest.approx(1)
    chosen = np.random.default_rng(0).integers(len(log_prior), size=200)
    some = curves.take(chosen)
    assert some.log_errors(np.array([320.0]))[:, 0] == pytest.approx(np.zeros(200))
    for count in (10.0, 320.0, 3200.0):
        errors = some.log_errors(np.array([count]))[:, 0]
        assert some.num_labels_at(errors) == pytest.approx(np.full(200, count), rel=1e-6)


def test_an_error_below_the_asymptote_is_never_reached() -> None:
    curve = Curves(100.0, np.array([0.5]), np.array([0.0]), np.array([0.4]))
    assert curve.num_labels_at(np.log([0.39])) == [np.inf]
    assert curve.num_labels_at(np.log([0.7])) == pytest.approx([100 * (0.3 / 0.6) ** -2])


@pytest.mark.parametrize(
    "errors",
    [
        {10: [0.2], 20: [0.3], 40: [0.4]},
        {10: [0.9], 20: [0.9], 40: [0.9], 80: [0.9]},
        {10: [1.0], 1000: [0.5], 100_000: [0.0]},
        {10: [0.3] * 3, 11: [0.2], 12: [0.25] * 2},
    ],
    ids=["rising", "flat", "steep", "near"],
)
def test_odd_points_have_an_answer_too(errors: dict[int, list[float]]) -> None:
    fit = fit_curve(errors, num_samples=50)
    labels, error = fit.num_labels(0.1), fit.error(10_000)
    assert 0 <= labels.low <= labels.value <= labels.high
    assert 0 <= error.low <= error.value <= error.high <= 1
    assert sum(fit.weights.values()) == pytest.approx(1)


def test_same_points_give_same_answer_and_no_error_is_possible() -> None:
    perfect = {count: [0.0, 0.0] for count in COUNTS}
    first, again = (fit_curve(perfect, num_samples=100).num_labels(0.01) for _ in range(2))
    assert first == again
    assert fit_curve(perfect, num_samples=100).error(640).high < 0.05
