"""Fits speedup models to throughputs measured at several numbers of workers, and compares them by AICc.

Shapes: C numbers of workers, P parameters of a model, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from supercm_ray.scaling.resample import LEVEL, resample
from supercm_ray.scaling.speedup_models import (
    PARAMETERS,
    SPEEDUP_MODELS,
    Array,
    SpeedupModel,
    bounds,
    gradients,
    log_throughputs,
    throughputs,
    without_log,
)

TRUSTED_FACTOR = 2
"""A prediction for more workers than this times the largest number measured is not reliable."""

DELTA_AICC = 2.0
"""Difference of AICc below which data do not tell two models apart (Burnham and Anderson 2002)."""

_RESAMPLES = 400
_MIN_VARIANCE = 1e-12  # of log X: below it differences are rounding


@dataclass(frozen=True)
class Prediction:
    """The prediction of a model for a number of workers.

    Attributes:
        throughput: in samples per second, with `low` and `high` as its 95 % interval.
        extrapolated: whether the number is larger than all that were measured.
        beyond: whether it is above twice the largest, where no interval is reliable.
    """

    num_workers: float
    throughput: float
    low: float
    high: float
    extrapolated: bool
    beyond: bool


@dataclass(frozen=True)
class Fit:
    """One model fitted to measurements.

    Attributes:
        parameters: by name; g in samples per second, a and b without unit.
        intervals: 95 % interval of each parameter.
        covers_offsets: whether the intervals allow each number of workers an offset that all its repetitions share. Not
            if there are as many parameters as numbers of workers, whose means are then fitted exactly.
        aicc: Akaike's information criterion, corrected for few data (Hurvich and Tsai 1989); less is better. It takes
            repetitions for independent.
        max_workers: the largest number of workers measured.
        resampled: parameters (R, P) of the resamples, in the order of PARAMETERS.
    """

    model: SpeedupModel
    parameters: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    covers_offsets: bool
    aicc: float
    max_workers: int
    resampled: Array

    def throughput(self, num_workers: float) -> float:
        """Returns samples per second at this number of workers."""
        values = np.array([self.parameters[name] for name in PARAMETERS[self.model]])
        return float(throughputs(self.model, values, np.array([float(num_workers)]))[0])

    def predict(self, num_workers: float) -> Prediction:
        """Predicts samples per second at this number of workers, with an interval and whether it is extrapolated."""
        found = throughputs(self.model, self.resampled, np.array([float(num_workers)]))[:, 0]
        low, high = _interval(found).tolist()
        return Prediction(
            num_workers,
            self.throughput(num_workers),
            low,
            high,
            extrapolated=num_workers > self.max_workers,
            beyond=num_workers > TRUSTED_FACTOR * self.max_workers,
        )


def fit_models(measured: Mapping[int, Sequence[float]], *, seed: int = 0, resamples: int = _RESAMPLES) -> list[Fit]:
    """Fits every model that the measurements allow, and returns the one with the least AICc first.

    Args:
        measured: throughputs in samples per second of each repetition, all positive, by number of workers.
        seed: seed of the resampling.
        resamples: number of times to resample the means, from which the intervals are computed.

    Returns:
        A fit for each model that has at most as many parameters as there are numbers of workers, and repetitions enough
        for its AICc to be finite; none with fewer than two numbers of workers.
    """
    num_settings, num_values = len(measured), sum(map(len, measured.values()))
    possible = [model for model in SPEEDUP_MODELS if len(PARAMETERS[model]) <= min(num_settings, num_values - 3)]
    fits = [fit_model(model, measured, seed=seed, resamples=resamples) for model in possible]
    return sorted(fits, key=lambda fit: fit.aicc)


def leading(fits: Sequence[Fit]) -> list[Fit]:
    """Returns the best fit and those with ΔAICc < 2, which the data do not distinguish from it."""
    return [fit for fit in fits if fit.aicc - fits[0].aicc < DELTA_AICC]


def fit_model(
    model: SpeedupModel, measured: Mapping[int, Sequence[float]], *, seed: int = 0, resamples: int = _RESAMPLES
) -> Fit:
    """Fits one model by least squares on log X; for the arguments see `fit_models`."""
    num_workers = sorted(measured)
    groups = [np.log(np.asarray(measured[count], dtype=np.float64)) for count in num_workers]
    num_workers_C = np.array(num_workers, dtype=np.float64)
    parameters, squares = _least_squares(model, num_workers_C, groups)
    generator = np.random.default_rng(seed)
    resampled = without_log(resample(model, num_workers_C, groups, parameters, generator, resamples))
    intervals = _interval(resampled)
    names = PARAMETERS[model]
    return Fit(
        model,
        dict(zip(names, without_log(parameters).tolist(), strict=True)),
        {name: (float(intervals[0, i]), float(intervals[1, i])) for i, name in enumerate(names)},
        len(groups) > len(names),
        _aicc(squares, sum(map(len, groups)), len(names) + 1),
        num_workers[-1],
        resampled,
    )


def _interval(values: Array) -> Array:
    """Returns the two ends (2, ...) of the middle 95 % of values (R, ...)."""
    ends: Array = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return ends


def _least_squares(model: SpeedupModel, num_workers_C: Array, groups: Sequence[Array]) -> tuple[Array, float]:
    """Returns parameters (P,), the first of them log g, and the remaining sum of squares."""
    num_workers = np.repeat(num_workers_C, [len(group) for group in groups])
    logs = np.concatenate(groups)
    start = np.array([float(groups[0].mean()) - math.log(num_workers_C[0]), 0.05, 0.001][: len(PARAMETERS[model])])
    solved = least_squares(
        lambda parameters: log_throughputs(model, parameters, num_workers) - logs,
        start,
        jac=lambda parameters: gradients(model, parameters, num_workers),
        bounds=bounds(model),
        x_scale="jac",
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    return np.asarray(solved.x, dtype=np.float64), float(2 * solved.cost)


def _aicc(squares: float, num_values: int, num_parameters: int) -> float:
    """Computes the AICc of a fit with normal residuals; infinite if there are too few values for it."""
    left = num_values - num_parameters - 1
    if left <= 0:
        return math.inf
    variance = max(squares / num_values, _MIN_VARIANCE)
    return num_values * math.log(variance) + 2 * num_parameters * (1 + (num_parameters + 1) / left)
