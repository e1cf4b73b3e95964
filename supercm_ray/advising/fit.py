"""Fits learning curves to errors measured at several numbers of labels, averaged over models and parameters.

Every curve of the grid is weighted by its prior and its likelihood (Bayesian model averaging), so that what the points
do not tell is in the intervals. The logarithm of the mean error at a number of labels has three parts: the curve, an
offset that all runs of that number share, such as that of the parameters chosen for it, and the error from the number
of seeds. The labels of a seed are among those of its larger numbers, so that lucky seeds raise all points alike; the
deviation from the curve that every prediction has allows for that. Beyond the largest number measured the curve may
fall slower or faster than its formula, or come to a plateau.

The constants of prior and deviations were chosen on the development tasks of `benchmarks/advise.py`.

Shapes: G curves of the grid, C numbers of labels, T spreads of the offset, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from supercm_ray.advising.curves import CURVE_MODELS, Array, CurveModel, Curves, grid

LEVEL = 0.9
"""Probability of the intervals."""
LOST = 0.5
"""Errors of a test split that are added to those counted, so that an accuracy of 1 has a logarithm too."""
OFFSETS = (0.01, 0.02, 0.04, 0.08, 0.16)
"""Possible standard deviations of the offsets, of log error; equally probable before the points are seen."""
SEED_SPREAD, SEED_DF = 0.05, 4
"""Standard deviation of log error over seeds before any is seen, and its worth in degrees of freedom."""
SLOWER, BEYOND = 0.9, 0.15
"""Median of the factor by which log error falls slower beyond the points, and standard deviation of its logarithm."""

PLATEAU = 0.2
"""Probability that beyond the points the curve is on the way to a plateau that they do not show, by a factor that may
be anything from 0 to 1."""

_MOST_LABELS = 1e9  # more than that are as good as never reached
_SAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval at `LEVEL`; a number of labels may be infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CurveFit:
    """The learning curves that points allow, as samples.

    Attributes:
        weights: probability of each model.
        curves: the curves (S,), relative to `log_level`.
        log_level: log error (S,) at the largest number of labels measured.
        log_offset: deviation (S,) from the curve of what is measured at another number of labels, of log error.
        slope_factor: factor (S,) of the fall of log error beyond the largest number.
    """

    weights: Mapping[CurveModel, float]
    curves: Curves
    log_level: Array
    log_offset: Array
    slope_factor: Array

    def error(self, num_labels: float) -> Estimate:
        """Predicts the error, from 0 to 1, that as many seeds as before have on average at this number of labels."""
        relative = self.curves.log_errors(np.array([num_labels]))[..., 0]
        beyond = np.where(num_labels > self.curves.num_labels, self.slope_factor, 1.0)
        return _estimate(np.minimum(np.exp(self.log_level + beyond * relative + self.log_offset), 1.0))

    def num_labels(self, error: float) -> Estimate:
        """Predicts the number of labels at which that mean error is this one, from above 0 to 1; at least 0, and
        infinite where it is not reached.
        """
        return _estimate(self._crossings(error))

    def _crossings(self, error: float) -> Array:
        """Computes the number of labels (S,) at which each curve has this error."""
        wanted = math.log(error) - self.log_level - self.log_offset
        beyond = np.where(wanted < 0, self.slope_factor, 1.0)
        found = np.maximum(self.curves.num_labels_at(wanted / beyond), 0.0)
        return np.where(found > _MOST_LABELS, np.inf, found)

    def reached(self, error: float, num_labels: float = _MOST_LABELS) -> float:
        """Returns the probability that this number of labels, by default any, or fewer have this mean error."""
        return float((self._crossings(error) <= num_labels).mean())

    @property
    def asymptote(self) -> Estimate:
        """The error, from 0 to 1, that no number of labels improves on."""
        with np.errstate(divide="ignore"):
            return _estimate(np.exp(self.log_level + self.slope_factor * np.log(self.curves.asymptote)))


def fit_curve(
    errors: Mapping[int, Sequence[float]], *, num_samples: int | None = None, plateau: float = PLATEAU, seed: int = 0
) -> CurveFit:
    """Fits learning curves.

    Args:
        errors: errors from 0 to 1 by number of labels, one for each seed; three or more numbers.
        num_samples: number of samples that each error was counted on; None if it is not known.
        plateau: probability of a plateau that the points do not show.
        seed: seed of the samples of the result.
    """
    num_labels_C = np.array(sorted(errors), dtype=np.float64)
    groups = [_smoothed(errors[count], num_samples) for count in sorted(errors)]
    curves, log_prior_G = grid(num_labels_C[-1])
    logs_C = np.array([math.log(group.mean()) for group in groups])
    seeds_C = np.array([len(group) for group in groups], dtype=np.float64)
    variance = _seed_variance(groups)
    precision_TC = 1 / (np.square(OFFSETS)[:, None] + variance / seeds_C)
    residual_GC = logs_C - curves.log_errors(num_labels_C)
    total_T = precision_TC.sum(axis=1)
    level_GT = residual_GC @ precision_TC.T / total_T
    squares_GT = np.square(residual_GC) @ precision_TC.T - np.square(level_GT) * total_T
    evidence_T = 0.5 * (np.log(precision_TC).sum(axis=1) - np.log(total_T))
    weights_GT = log_prior_G[:, None] + evidence_T - 0.5 * squares_GT
    weights_GT = np.exp(weights_GT - weights_GT.max())
    weights_GT /= weights_GT.sum()
    generator = np.random.default_rng(seed)
    chosen = generator.choice(weights_GT.size, _SAMPLES, p=weights_GT.ravel())
    of_grid, of_offset = np.unravel_index(chosen, weights_GT.shape)
    normal = generator.standard_normal((3, _SAMPLES))
    num_seeds = float(np.median(seeds_C))
    return CurveFit(
        weights={model: float(weights_GT[curves.models == i].sum()) for i, model in enumerate(CURVE_MODELS)},
        curves=curves.take(of_grid),
        log_level=level_GT[of_grid, of_offset] + normal[0] / np.sqrt(total_T[of_offset]),
        log_offset=normal[1] * np.sqrt(np.square(OFFSETS)[of_offset] + variance / num_seeds),
        slope_factor=np.where(
            generator.random(_SAMPLES) < plateau, generator.random(_SAMPLES), SLOWER * np.exp(BEYOND * normal[2])
        ),
    )


def _smoothed(errors: Sequence[float], num_samples: int | None) -> Array:
    """Returns errors above 0."""
    values = np.asarray(errors, dtype=np.float64)
    num = num_samples or 1000
    return (values * num + LOST) / (num + 2 * LOST)


def _seed_variance(groups: Sequence[Array]) -> float:
    """Returns the variance of log error over seeds, the same at each number of labels, drawn to what is usual."""
    squares = sum(float(np.square(group / group.mean() - 1).sum()) for group in groups)
    df = sum(len(group) - 1 for group in groups)
    return (squares + SEED_DF * SEED_SPREAD**2) / (df + SEED_DF)


def _estimate(values: Array) -> Estimate:
    """Returns the median of samples (S,) and the ends of the middle `LEVEL` of them, each of which is a sample."""
    low, middle, high = np.quantile(values, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="nearest")
    return Estimate(float(middle), float(low), float(high))
