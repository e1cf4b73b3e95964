"""Algorithms that use confident predictions as labels. Shapes: U unlabeled samples, K classes."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from supercm_ray.algorithms.base import ALGORITHMS, Step, Terms, frozen_statistics
from supercm_ray.config import OptionsModel


class ThresholdOptions(OptionsModel):
    """Options of `pseudo_label` and `fixmatch`."""

    threshold: float = Field(0.95, ge=0, le=1)
    """Probability, from 0 to 1, from which a prediction is used as a label."""


@ALGORITHMS.register("pseudo_label", options=ThresholdOptions, requires={"unlabeled"})
def pseudo_label(step: Step) -> Terms:
    """Pseudo-label: cross-entropy of a view against its own prediction, if that is confident.

    Source: Lee 2013, "Pseudo-label", ICML workshop on challenges in representation learning.
    """
    return {"consistency": _confident_cross_entropy(step.unlabeled_logits, step)}


@ALGORITHMS.register("fixmatch", options=ThresholdOptions, requires={"unlabeled", "two_views"})
def fixmatch(step: Step) -> Terms:
    """FixMatch: cross-entropy of a strong view against the prediction for the weak one, if that is confident.

    Source: Sohn et al. 2020, "FixMatch" (arXiv 2001.07685).
    """
    return {"consistency": _confident_cross_entropy(strong_logits(step), step)}


def strong_logits(step: Step) -> Tensor:
    """Computes logits (U, K) of a strong view, with gradient, without updating BatchNorm's running statistics."""
    with frozen_statistics(step.model):
        logits_UK: Tensor = step.model(step.strong_view()).logits
    return logits_UK


def weighted_cross_entropy(logits_UK: Tensor, labels_U: Tensor, weight_U: Tensor) -> Tensor:
    """Computes the mean over all unlabeled samples of weight times cross-entropy."""
    return (functional.cross_entropy(logits_UK, labels_U, reduction="none") * weight_U).mean()


def _confident_cross_entropy(logits_UK: Tensor, step: Step) -> Tensor:
    """Computes the mean cross-entropy over all unlabeled samples; those below the threshold count as 0."""
    confidence_U, labels_U = step.unlabeled_logits.detach().softmax(dim=1).max(dim=1)
    return weighted_cross_entropy(logits_UK, labels_U, confidence_U >= step.options(ThresholdOptions).threshold)
