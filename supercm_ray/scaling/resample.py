"""Resamples the repetitions of a scaling study, to estimate the uncertainty of a speedup model's parameters.

Shapes: C numbers of workers, P parameters of a model, the first of which is log g, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from supercm_ray.scaling.speedup_models import Array, SpeedupModel, bounds, gradients, log_throughputs

LEVEL = 0.95
"""Confidence level of the intervals."""

_ITERATIONS = 25


def resample(
    model: SpeedupModel,
    num_workers_C: Array,
    groups: Sequence[Array],
    parameters: Array,
    generator: np.random.Generator,
    resamples: int,
) -> Array:
    """Parameters (R, P) of resamples, each of as many repetitions as were measured; the first is log g.

    The residuals of all numbers of workers are drawn together, for a few repetitions of one say too little of their own
    spread, and enlarged by sqrt(n / (n - P)), since a fit of P parameters to n repetitions leaves too little by that
    factor. Only the mean of each number of workers enters the fit. The results are moved away from the estimate by the
    ratio of Student's t to the normal quantile, for the spread of so few repetitions is itself uncertain.
    """
    expected_C = log_throughputs(model, parameters, num_workers_C)
    residuals = np.concatenate([group - expected for group, expected in zip(groups, expected_C, strict=True)])
    freedom = len(residuals) - len(parameters)
    residuals = (residuals - residuals.mean()) * math.sqrt(len(residuals) / freedom)
    draws = [generator.integers(len(residuals), size=(resamples, len(group))) for group in groups]
    means_RC = expected_C + np.stack([residuals[draw].mean(axis=1) for draw in draws], axis=1)
    weights_C = np.array([len(group) for group in groups], dtype=np.float64)
    found_RP = solve_all(model, num_workers_C, weights_C, means_RC, parameters)
    factor = stdtrit(freedom, (1 + LEVEL) / 2) / ndtri((1 + LEVEL) / 2)
    widened: Array = np.clip(parameters + factor * (found_RP - parameters), *bounds(model))
    return widened


def solve_all(model: SpeedupModel, num_workers_C: Array, weights_C: Array, logs_RC: Array, start: Array) -> Array:
    """Solves the least squares of all resamples at once, by Gauss-Newton steps within the bounds from a start (P,).

    scipy solves one problem at a time, which takes about forty times as long: 1.4 s for 400 resamples of the universal
    model.
    """
    lower, upper = bounds(model)
    found = np.tile(start, (len(logs_RC), 1))
    eye = np.eye(len(start))
    for _ in range(_ITERATIONS):
        gradients_RCP = gradients(model, found, num_workers_C)
        weighted_RCP = gradients_RCP * weights_C[:, None]
        push_RP = np.einsum("rcp,rc->rp", weighted_RCP, logs_RC - log_throughputs(model, found, num_workers_C))
        held_RP = ((found <= lower) & (push_RP < 0)) | ((found >= upper) & (push_RP > 0))
        free_RP = (~held_RP).astype(np.float64)
        curve_RPP = np.einsum("rcp,rcq->rpq", weighted_RCP, gradients_RCP) * free_RP[:, :, None] * free_RP[:, None, :]
        curve_RPP += eye * held_RP[:, :, None] + 1e-12 * eye
        step_RP = np.linalg.solve(curve_RPP, (push_RP * free_RP)[..., None])[..., 0]
        found = np.clip(found + step_RP, lower, upper)
    return found
