"""Laws of scaling, fitted to throughputs measured at several worker counts, the best one named.

With N workers, throughput X in rows a second, that of one worker g, and S = X / g:

    Amdahl (1967)       S = N / (1 + a (N - 1))                     a: the serial share of the work
    Gustafson (1988)    S = N - a (N - 1)                           a: the serial share of the time
    Universal (Gunther) S = N / (1 + a (N - 1) + b N (N - 1))       a: contention, b: cost of keeping in step

Least squares on log X, since errors of measurement are in proportion to what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import stdtrit

Array = npt.NDArray[np.float64]
LawName = Literal["amdahl", "gustafson", "universal"]

LAWS: tuple[LawName, ...] = ("amdahl", "gustafson", "universal")
"""In the order in which they are preferred where data do not tell them apart."""
PARAMETERS: dict[LawName, tuple[str, ...]] = {
    "amdahl": ("g", "a"),
    "gustafson": ("g", "a"),
    "universal": ("g", "a", "b"),
}
TRUSTED_FACTOR = 2
"""Times the largest count measured up to which a prediction is not marked."""

NOT_APART = 2.0
"""Difference of Akaike's criteria below which data do not tell two laws apart (Burnham and Anderson 2002)."""
MEANINGS: dict[LawName, str] = {
    "amdahl": "g: rows a second of one worker, a: the serial share of the work",
    "gustafson": "g: rows a second of one worker, a: the serial share of the time",
    "universal": "g: rows a second of one worker, a: contention, b: cost of keeping the workers in step",
}

_LEVEL = 0.95
_NORMAL_QUANTILE = 1.96
_RESAMPLES = 400
_ITERATIONS = 25
_LEAST_VARIANCE = 1e-12  # of log X: below it differences are rounding


@dataclass(frozen=True)
class Fit:
    """One law fitted to measurements.

    Attributes:
        parameters: by name; g in rows a second, a and b without unit.
        intervals: of each parameter, 95 %.
        criterion: Akaike's with Hurvich and Tsai's correction for few data; the law with the least is the best one.
        largest: the largest count measured.
        resampled: parameters (R, P) of the resamples, in the order of PARAMETERS, as far from the estimate as so few
            repetitions call for.
    """

    law: LawName
    parameters: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    criterion: float
    largest: int
    resampled: Array

    def throughput(self, count: float) -> float:
        """Rows a second at a count, by the law."""
        values = np.array([self.parameters[name] for name in PARAMETERS[self.law]])
        return float(_throughputs(self.law, values, np.array([float(count)]))[0])

    def predict(self, count: float) -> Prediction:
        """Rows a second at a count, with their interval, and whether the measurements carry so far."""
        found = _throughputs(self.law, self.resampled, np.array([float(count)]))[:, 0]
        low, high = np.quantile(found, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]).tolist()
        return Prediction(
            count,
            self.throughput(count),
            low,
            high,
            extrapolated=count > self.largest,
            beyond=count > TRUSTED_FACTOR * self.largest,
        )


@dataclass(frozen=True)
class Prediction:
    """What a law says of a count.

    Attributes:
        throughput: in rows a second, with low and high as its 95 % interval.
        extrapolated: whether the count is above all that were measured.
        beyond: whether it is above twice the largest, where no interval is to be trusted.
    """

    count: float
    throughput: float
    low: float
    high: float
    extrapolated: bool
    beyond: bool


def fit_laws(throughputs: Mapping[int, Sequence[float]], *, seed: int = 0, resamples: int = _RESAMPLES) -> list[Fit]:
    """Fits every law that the number of counts allows, the best first.

    Args:
        throughputs: rows a second of each repetition, all positive, by count.
        seed: of the resampling.
        resamples: how many times the repetitions are drawn anew, from which the intervals are taken.

    Returns:
        None for fewer than two counts; a law only where there are as many counts as it has parameters, and repetitions
        enough for its criterion to be finite, since it cannot be set against the others otherwise.
    """
    num_counts, num_values = len(throughputs), sum(map(len, throughputs.values()))
    possible = [law for law in LAWS if len(PARAMETERS[law]) <= min(num_counts, num_values - 3)]
    fits = [fit(law, throughputs, seed=seed, resamples=resamples) for law in possible]
    return sorted(fits, key=lambda one: one.criterion)


def leading(fits: Sequence[Fit]) -> list[Fit]:
    """The best law, and those that the data do not tell apart from it."""
    return [one for one in fits if one.criterion - fits[0].criterion < NOT_APART]


def fit(law: LawName, throughputs: Mapping[int, Sequence[float]], *, seed: int = 0, resamples: int = _RESAMPLES) -> Fit:
    """Fits one law; see `fit_laws`."""
    counts = sorted(throughputs)
    groups = [np.log(np.asarray(throughputs[count], dtype=np.float64)) for count in counts]
    counts_C = np.array(counts, dtype=np.float64)
    values, squares = _least_squares(law, counts_C, groups)
    resampled = _resample(law, counts_C, groups, values, np.random.default_rng(seed), resamples)
    bounds = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    names = PARAMETERS[law]
    return Fit(
        law,
        dict(zip(names, values.tolist(), strict=True)),
        {name: (float(bounds[0, i]), float(bounds[1, i])) for i, name in enumerate(names)},
        _criterion(squares, sum(map(len, groups)), len(names) + 1),
        counts[-1],
        resampled,
    )


def _throughputs(law: LawName, values: Array, counts_C: Array) -> Array:
    """Throughputs (..., C) for parameters (..., P) that hold g itself."""
    inner = np.concatenate([np.log(values[..., :1]), values[..., 1:]], axis=-1)
    found: Array = np.exp(_logs(law, inner, counts_C))
    return found


def _logs(law: LawName, inner: Array, counts_C: Array) -> Array:
    """Logarithms of throughputs (..., C) for parameters (..., P) of which the first is log g."""
    rest = counts_C - 1
    if law == "gustafson":
        found: Array = inner[..., :1] + np.log(counts_C - inner[..., 1:2] * rest)
        return found
    slowdown = 1 + inner[..., 1:2] * rest
    if law == "universal":
        slowdown = slowdown + inner[..., 2:3] * counts_C * rest
    logs: Array = inner[..., :1] + np.log(counts_C) - np.log(slowdown)
    return logs


def _slopes(law: LawName, inner: Array, counts_C: Array) -> Array:
    """Derivatives (..., C, P) of `_logs` by the parameters."""
    rest = counts_C - 1
    ones = np.ones((*inner.shape[:-1], len(counts_C)))
    if law == "gustafson":
        return np.stack([ones, -rest / (counts_C - inner[..., 1:2] * rest)], axis=-1)
    slowdown = np.exp(inner[..., :1] + np.log(counts_C) - _logs(law, inner, counts_C))
    columns = [ones, -rest / slowdown] + ([-counts_C * rest / slowdown] if law == "universal" else [])
    return np.stack(columns, axis=-1)


def _bounds(law: LawName) -> tuple[Array, Array]:
    """The least and the most of each parameter: a share is from 0 to 1."""
    upper = math.inf if law == "universal" else 1.0
    num = len(PARAMETERS[law])
    return np.array([-math.inf, *[0.0] * (num - 1)]), np.array([math.inf, *[upper] * (num - 1)])


def _least_squares(law: LawName, counts_C: Array, groups: Sequence[Array]) -> tuple[Array, float]:
    """Parameters, the first g itself, and the sum of squares that they leave."""
    counts = np.repeat(counts_C, [len(group) for group in groups])
    logs = np.concatenate(groups)
    start = np.array([float(groups[0].mean()) - math.log(counts_C[0]), 0.05, 0.001][: len(PARAMETERS[law])])
    solved: Any = least_squares(
        lambda inner: _logs(law, inner, counts) - logs,
        start,
        jac=lambda inner: _slopes(law, inner, counts),
        bounds=_bounds(law),
        x_scale="jac",
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    inner: Array = solved.x
    return np.concatenate([np.exp(inner[:1]), inner[1:]]), float(2 * solved.cost)


def _resample(
    law: LawName,
    counts_C: Array,
    groups: Sequence[Array],
    values: Array,
    generator: np.random.Generator,
    resamples: int,
) -> Array:
    """Parameters (R, P) of so many resamples, each of as many repetitions of each count as there are.

    What the law leaves of each repetition is drawn anew, from all counts together, for a few repetitions of one count
    say too little of their own spread; enlarged by sqrt(n / (n - P)), since a fit of P parameters to n repetitions
    leaves too little by that factor. Only the mean of a count enters the fit. What comes out is moved away from the
    estimate by Student's t over the normal quantile, for the spread of so few repetitions is itself uncertain.
    """
    inner = np.concatenate([np.log(values[:1]), values[1:]])
    expected_C = _logs(law, inner, counts_C)
    left = np.concatenate([group - expected for group, expected in zip(groups, expected_C, strict=True)])
    left = (left - left.mean()) * math.sqrt(len(left) / (len(left) - len(values)))
    drawn = [left[generator.integers(len(left), size=(resamples, len(group)))].mean(axis=1) for group in groups]
    weights_C = np.array([len(group) for group in groups], dtype=np.float64)
    found = _solve_all(law, counts_C, weights_C, expected_C + np.stack(drawn, axis=1), inner)
    wider = stdtrit(len(left) - len(values), (1 + _LEVEL) / 2) / _NORMAL_QUANTILE
    found = np.clip(inner + wider * (found - inner), *_bounds(law))
    return np.concatenate([np.exp(found[:, :1]), found[:, 1:]], axis=1)


def _solve_all(law: LawName, counts_C: Array, weights_C: Array, logs_RC: Array, start: Array) -> Array:
    """The same least squares for many data at once, by Gauss and Newton's steps within the bounds from a near start."""
    lower, upper = _bounds(law)
    inner = np.tile(start, (len(logs_RC), 1))
    eye = np.eye(len(start))
    for _ in range(_ITERATIONS):
        slopes_RCP = _slopes(law, inner, counts_C)
        weighted_RCP = slopes_RCP * weights_C[:, None]
        push_RP = np.einsum("rcp,rc->rp", weighted_RCP, logs_RC - _logs(law, inner, counts_C))
        held_RP = ((inner <= lower) & (push_RP < 0)) | ((inner >= upper) & (push_RP > 0))
        free_RP = (~held_RP).astype(np.float64)
        curve_RPP = np.einsum("rcp,rcq->rpq", weighted_RCP, slopes_RCP) * free_RP[:, :, None] * free_RP[:, None, :]
        curve_RPP += eye * held_RP[:, :, None] + 1e-12 * eye
        step_RP = np.linalg.solve(curve_RPP, (push_RP * free_RP)[..., None])[..., 0]
        inner = np.clip(inner + step_RP, lower, upper)
    return inner


def _criterion(squares: float, num_values: int, num_parameters: int) -> float:
    """Akaike's criterion with the correction for few values; infinite where there are too few for it."""
    left = num_values - num_parameters - 1
    if left <= 0:
        return math.inf
    variance = max(squares / num_values, _LEAST_VARIANCE)
    return num_values * math.log(variance) + 2 * num_parameters * (1 + (num_parameters + 1) / left)
