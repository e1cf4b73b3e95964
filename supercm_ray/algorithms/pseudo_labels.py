"""Hosts that take confident predictions for labels. Shapes: U unlabeled samples, K classes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from supercm_ray.algorithms.base import Step, Terms, frozen_statistics, register


@register("pseudo_label")
def pseudo_label(step: Step) -> Terms:
    """Pseudo-label: cross-entropy of a view against its own prediction, where that is confident.

    Source: Lee 2013, "Pseudo-label", ICML workshop on challenges in representation learning.
    """
    return {"consistency": _confident_cross_entropy(step.unlabeled_logits, step)}


@register("fixmatch")
def fixmatch(step: Step) -> Terms:
    """FixMatch: cross-entropy of a strong view against the prediction for the weak one, where that is confident.

    Source: Sohn et al. 2020, "FixMatch" (arXiv 2001.07685).
    """
    with frozen_statistics(step.model):
        strong_UK = step.model(step.strong_view()).logits
    return {"consistency": _confident_cross_entropy(strong_UK, step)}


def _confident_cross_entropy(logits_UK: Tensor, step: Step) -> Tensor:
    """Mean over all unlabeled samples, those below the confidence threshold counting as 0."""
    confidence_U, labels_U = step.unlabeled_logits.detach().softmax(dim=1).max(dim=1)
    loss_U = functional.cross_entropy(logits_UK, labels_U, reduction="none")
    return (loss_U * (confidence_U >= step.config.algorithm.confidence_threshold)).mean()
