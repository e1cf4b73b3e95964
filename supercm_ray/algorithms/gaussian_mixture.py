"""The semi-supervised Gaussian mixture, of which SuperCM's clustering loss is a surrogate.

Shapes: L labeled samples, U unlabeled samples, D features, P classes that have a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from supercm_ray.algorithms.base import ALGORITHMS
from supercm_ray.algorithms.closed_form import ClosedForm, Floats, set_gaussians
from supercm_ray.config import OptionsModel
from supercm_ray.models import FittedHead

_TOLERANCE = 1e-5  # of the mean log-likelihood, in nats, between two iterations
_LEAST_VARIANCE = 1e-6  # as a fraction of the mean variance of the features


class GaussianMixtureOptions(OptionsModel):
    """Options of `gaussian_mixture`."""

    covariance: Literal["spherical", "diagonal"] = "spherical"
    """Covariance that the classes share: one variance (`spherical`), or one of each feature (`diagonal`)."""
    weights: Literal["equal", "fitted"] = "equal"
    """Weights of the classes: equal, which is the prior that classes are balanced, or fitted like the means."""
    unlabeled_weight: float = Field(1.0, ge=0)
    """Weight of an unlabeled sample, from 0; that of a labeled one is 1."""
    max_iterations: int = Field(300, ge=1)
    """Largest number of iterations of EM, from 1."""


@ALGORITHMS.register("gaussian_mixture", options=GaussianMixtureOptions, requires={"fixed_features", "unlabeled"})
class GaussianMixture(ClosedForm):
    """A mixture of one Gaussian a class with a common covariance, fitted by EM to labeled samples, which belong to
    their class, and unlabeled ones, which belong to each class with its posterior probability. Classes without a
    labeled sample have no Gaussian.

    Source: Nigam et al. 2000, "Text classification from labeled and unlabeled documents using EM" (the weight of
    unlabeled samples); scikit-learn's mixtures have no labels.
    """

    def fit(self, head: FittedHead, labeled: Floats, labels: npt.NDArray[np.int64], unlabeled: Floats) -> None:
        """Sets the head to the log-densities of the fitted Gaussians."""
        found = fit_gaussians(labeled, labels, unlabeled, self.options(GaussianMixtureOptions))
        set_gaussians(head, found.classes, found.means, found.variances, found.log_weights)


@dataclass(frozen=True)
class Gaussians:
    """Normal distributions of one diagonal covariance.

    Attributes:
        classes: (P,) the class of each.
        means: (P, D).
        variances: (D,) those of each feature.
        log_weights: (P,) logarithms of their weights.
    """

    classes: npt.NDArray[np.int64]
    means: Floats
    variances: Floats
    log_weights: Floats

    def log_joint(self, samples: Floats) -> Floats:
        """Computes the log-densities (N, P) of samples (N, D) together with each class."""
        scaled_ND, scaled_PD = samples / np.sqrt(self.variances), self.means / np.sqrt(self.variances)
        squares_NP = (scaled_ND**2).sum(axis=1)[:, None] + (scaled_PD**2).sum(axis=1) - 2 * scaled_ND @ scaled_PD.T
        found: Floats = self.log_weights - 0.5 * (squares_NP + np.log(2 * np.pi * self.variances).sum())
        return found


def fit_gaussians(
    labeled: Floats, labels: npt.NDArray[np.int64], unlabeled: Floats, options: GaussianMixtureOptions
) -> Gaussians:
    """Fits the mixture by EM, from the class means of the labeled samples and the variance of all samples.

    Args:
        labeled: (L, D).
        labels: (L,) their classes.
        unlabeled: (U, D).
        options: those of `gaussian_mixture`.
    """
    from scipy.special import log_softmax, logsumexp  # half a second of imports

    classes_P, own_L = np.unique(labels, return_inverse=True)
    labeled_LP = np.eye(len(classes_P))[own_L]
    samples_SD = np.concatenate([labeled, unlabeled])
    spread_D = samples_SD.var(axis=0)
    means_PD = (labeled_LP.T @ labeled) / labeled_LP.sum(axis=0)[:, None]
    equal_P = np.full(len(classes_P), -np.log(len(classes_P)))
    found = Gaussians(classes_P, means_PD, _variances(spread_D, spread_D, options), equal_P)
    former = -np.inf
    for _ in range(options.max_iterations):
        joint_UP = found.log_joint(unlabeled)
        share_UP = options.unlabeled_weight * np.exp(log_softmax(joint_UP, axis=1))
        weight_SP = np.concatenate([labeled_LP, share_UP])
        count_P = weight_SP.sum(axis=0)
        means_PD = (weight_SP.T @ samples_SD) / count_P[:, None]
        around_D = (weight_SP.sum(axis=1) @ samples_SD**2 - count_P @ means_PD**2) / count_P.sum()
        log_weights_P = np.log(count_P / count_P.sum()) if options.weights == "fitted" else equal_P
        found = Gaussians(classes_P, means_PD, _variances(around_D, spread_D, options), log_weights_P)
        likelihood = float(logsumexp(joint_UP, axis=1).mean()) if len(unlabeled) else 0.0
        if abs(likelihood - former) < _TOLERANCE:
            break
        former = likelihood
    return found


def _variances(around_D: Floats, spread_D: Floats, options: GaussianMixtureOptions) -> Floats:
    """Returns the variances under the covariance that the options name, kept from 0."""
    least = max(_LEAST_VARIANCE * float(spread_D.mean()), float(np.finfo(np.float32).tiny))
    chosen_D = np.full_like(around_D, around_D.mean()) if options.covariance == "spherical" else around_D
    return np.maximum(chosen_D, least)
