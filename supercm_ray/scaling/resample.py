"""Resamples the means of a scaling study's numbers of workers, for the uncertainty of a speedup model's parameters.

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
    """Draws parameters (R, P) whose spread is the uncertainty of the estimate; the first is log g.

    The model is fitted to means drawn about the fit, one for each number of workers. Means are drawn, not repetitions,
    since a number of workers may have an offset of its own, such as that of its placement, which all its repetitions
    share.
    """
    expected_C = log_throughputs(model, parameters, num_workers_C)
    weights_C = np.array([len(group) for group in groups], dtype=np.float64)
    sigma = _half_width(groups, expected_C, len(parameters)) / ndtri((1 + LEVEL) / 2)
    means_RC = expected_C + sigma / np.sqrt(weights_C) * generator.standard_normal((resamples, len(groups)))
    return solve_all(model, num_workers_C, weights_C, means_RC, parameters)


def _half_width(groups: Sequence[Array], expected_C: Array, num_parameters: int) -> float:
    """Returns half the interval of one repetition of log X: Student's quantile times the standard deviation.

    It is the larger one of two: that from the residuals of means, of C - P degrees of freedom, which include offsets of
    numbers of workers, and that from repetitions about their means, which is not small by chance if C - P is. If C = P
    there are no residuals, and offsets are left out.
    """
    weights_C = np.array([len(group) for group in groups])
    means_C = np.array([group.mean() for group in groups])
    between = float((weights_C * (means_C - expected_C) ** 2).sum())
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    sums = ((between, len(groups) - num_parameters), (within, int(weights_C.sum()) - len(groups)))
    return max(
        float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(squares / freedom) for squares, freedom in sums if freedom
    )


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
