"""Baselines of the field that are fitted at once to features that do not change, by scikit-learn.

Shapes: L labeled samples, U unlabeled samples, S samples of both, D features, K classes, P classes that have a label.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from supercm_ray.algorithms.base import ALGORITHMS, Context, Step, Terms
from supercm_ray.config import OptionsModel
from supercm_ray.models import UNSEEN_LOGIT, FittedHead

Floats = npt.NDArray[np.float64]
O = TypeVar("O", bound=OptionsModel)  # noqa: E741 (the options of an algorithm)


class ClosedForm(nn.Module):
    """An algorithm that fits the head at once. `fit` is called once, with the features of all labeled and all
    unlabeled samples, on one worker alone.
    """

    def __init__(self, context: Context) -> None:
        """Takes the configuration of the run from `context`."""
        super().__init__()
        self._context = context

    def fit(self, head: FittedHead, labeled: Floats, labels: npt.NDArray[np.int64], unlabeled: Floats) -> None:
        """Fits `head` to features (L, D) with labels (L,) and features (U, D) without; U may be 0."""
        raise NotImplementedError

    def options(self, model: type[O]) -> O:
        """Returns the algorithm's options, which must be an instance of `model`."""
        return self._context.options(model)

    def forward(self, step: Step) -> Terms:
        """Returns no term."""
        return {}


@ALGORITHMS.register("nearest_centroid", requires={"fixed_features"})
class NearestCentroid(ClosedForm):
    """The class whose mean of labeled features is nearest. A logit is minus half the squared distance by feature, so
    that it is linear but for what all classes share.
    """

    def fit(self, head: FittedHead, labeled: Floats, labels: npt.NDArray[np.int64], unlabeled: Floats) -> None:
        """Sets the head to the class means."""
        means_PD, present_P = _class_means(labeled, labels)
        set_gaussians(head, present_P, means_PD, np.full(means_PD.shape[1], float(means_PD.shape[1])))


@ALGORITHMS.register("nearest_neighbor", requires={"fixed_features"})
class NearestNeighbor(ClosedForm):
    """The class of the nearest labeled sample, by Euclidean distance."""

    def fit(self, head: FittedHead, labeled: Floats, labels: npt.NDArray[np.int64], unlabeled: Floats) -> None:
        """Stores the labeled samples in the head."""
        head.set_neighbors(torch.from_numpy(labeled), _one_hot(labels, head), 1)


class LogisticRegressionOptions(OptionsModel):
    """Options of `logistic_regression`."""

    c: float = Field(1.0, gt=0)
    """Inverse strength of the L2 regularisation, above 0, as `C` of scikit-learn's LogisticRegression."""
    max_iterations: int = Field(1000, ge=1)
    """Largest number of iterations of L-BFGS, from 1."""


@ALGORITHMS.register("logistic_regression", options=LogisticRegressionOptions, requires={"fixed_features"})
class LogisticRegression(ClosedForm):
    """Multinomial logistic regression on labeled features, L2-regularised."""

    def fit(self, head: FittedHead, labeled: Floats, labels: npt.NDArray[np.int64], unlabeled: Floats) -> None:
        """Sets the head to the coefficients of `sklearn.linear_model.LogisticRegression`."""
        from sklearn.linear_model import LogisticRegression as Fitted

        present_P = np.unique(labels)
        if len(present_P) == 1:
            return _set_rows(head, present_P, np.zeros((1, labeled.shape[1])), np.zeros(1))
        options = self.options(LogisticRegressionOptions)
        fitted = Fitted(C=options.c, max_iter=options.max_iterations).fit(labeled, labels)
        weight, bias = np.asarray(fitted.coef_), np.asarray(fitted.intercept_)
        if len(present_P) == 2:  # scikit-learn gives the logit of the second class against the first
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return _set_rows(head, present_P, weight, bias)


class LabelPropagationOptions(OptionsModel):
    """Options of `label_propagation`."""

    num_neighbors: int = Field(7, ge=1)
    """Number of nearest neighbours that a sample is connected to, and that vote on a new sample, from 1."""
    alpha: float = Field(0.2, gt=0, lt=1)
    """Share of a labeled sample's class that its neighbours may change, between 0 and 1."""
    max_iterations: int = Field(1000, ge=1)
    """Largest number of iterations, from 1."""


@ALGORITHMS.register("label_propagation", options=LabelPropagationOptions, requires={"fixed_features", "unlabeled"})
class LabelPropagation(ClosedForm):
    """Labels that spread over a graph of nearest neighbours of labeled and unlabeled samples; of a new sample the
    neighbours among these vote.

    Source: Zhou et al. 2004, "Learning with local and global consistency" (label spreading).
    """

    def fit(self, head: FittedHead, labeled: Floats, labels: npt.NDArray[np.int64], unlabeled: Floats) -> None:
        """Stores all samples with the class probabilities of `sklearn.semi_supervised.LabelSpreading`."""
        from sklearn.semi_supervised import LabelSpreading

        samples_SD = np.concatenate([labeled, unlabeled])
        labels_S = np.concatenate([labels, np.full(len(unlabeled), -1)])
        options = self.options(LabelPropagationOptions)
        k = min(options.num_neighbors, len(samples_SD))
        fitted = LabelSpreading(
            kernel="knn", n_neighbors=k, alpha=options.alpha, max_iter=options.max_iterations, tol=1e-3
        ).fit(samples_SD, labels_S)
        targets_SK = np.zeros((len(samples_SD), len(head.head.bias)))
        targets_SK[:, fitted.classes_] = fitted.label_distributions_
        head.set_neighbors(torch.from_numpy(samples_SD), torch.from_numpy(targets_SK), k)


def set_gaussians(
    head: FittedHead,
    classes: npt.NDArray[np.int64],
    means: Floats,
    variances: Floats,
    log_weights: Floats | None = None,
) -> None:
    """Sets a linear head to the log-densities of normal distributions of one diagonal covariance, but for a constant
    that all classes share.

    Args:
        head: the head of K classes.
        classes: (P,) the classes that have a distribution; the others get the logit of an unseen class.
        means: (P, D).
        variances: (D,) those of each feature.
        log_weights: (P,) logarithms of the classes' weights; None means equal ones.
    """
    weight_PD = means / variances
    bias_P = -0.5 * (means * weight_PD).sum(axis=1) + (0.0 if log_weights is None else log_weights)
    _set_rows(head, classes, weight_PD, bias_P)


def _set_rows(head: FittedHead, classes: npt.NDArray[np.int64], weight_PD: Floats, bias_P: Floats) -> None:
    """Sets the rows of these classes of a linear head; the others become those of unseen classes."""
    weight_KD, bias_K = np.zeros(tuple(head.head.weight.shape)), np.full(len(head.head.bias), UNSEEN_LOGIT)
    weight_KD[classes], bias_K[classes] = weight_PD, bias_P
    head.set_linear(torch.from_numpy(weight_KD), torch.from_numpy(bias_K))


def _class_means(features: Floats, labels: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    present_P = np.unique(labels)
    return np.stack([features[labels == k].mean(axis=0) for k in present_P]), present_P


def _one_hot(labels: npt.NDArray[np.int64], head: FittedHead) -> Tensor:
    return nn.functional.one_hot(torch.from_numpy(labels), len(head.head.bias)).double()
