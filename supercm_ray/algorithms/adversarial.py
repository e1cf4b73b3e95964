"""Algorithms for domain adaptation: labeled samples are the source, unlabeled samples the target. Shapes: B source
samples, U target samples, D features, K classes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from supercm_ray.algorithms.base import ALGORITHMS, Context, Step, Terms
from supercm_ray.config import OptionsModel
from supercm_ray.core import all_reduce_sum, world_size

_MAX_MAP = 4096  # values of a multilinear map; beyond it CDAN takes random projections of this size
_MCC_TEMPERATURE = 2.5


class _Reverse(torch.autograd.Function):
    """Identity in the forward pass; multiplies the gradient by a negative coefficient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * gradients[0], None


def reverse_gradient(values: Tensor, coefficient: float) -> Tensor:
    """Returns the values unchanged; their gradient is multiplied by `-coefficient`."""
    reversed_values: Tensor = _Reverse.apply(values, coefficient)
    return reversed_values


def warm_start(progress: float) -> float:
    """Computes `2 / (1 + exp(-10 p)) - 1`, from 0 to 1, for the fraction p of training done.

    Source: Ganin et al. 2016.
    """
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


def _discriminator(num_inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )


class DannOptions(OptionsModel):
    """Options of `dann`."""

    discriminator_width: int = Field(128, ge=1)
    """Number of units of each of the discriminator's two hidden layers, from 1."""


@ALGORITHMS.register("dann", options=DannOptions, requires={"unlabeled", "target"})
class DANN(nn.Module):
    """Domain-adversarial training: a discriminator separates source and target features, the network learns to prevent
    it.

    Source: Ganin et al. 2016, "Domain-adversarial training of neural networks" (arXiv 1505.07818).
    """

    def __init__(self, context: Context) -> None:
        """Creates the discriminator for the number of features in `context`."""
        super().__init__()
        self.discriminator = _discriminator(context.num_features, context.options(DannOptions).discriminator_width)

    def forward(self, step: Step) -> Terms:
        """Computes the discriminator's binary cross-entropy: the average of a mean over source and one over target
        samples.
        """
        features = reverse_gradient(step.outputs.features, warm_start(step.progress))
        loss = _domain_loss(self.discriminator(features), len(step.batch.labels), weight=None)
        return {"adversarial": loss}


class CdanOptions(DannOptions):
    """Options of `cdan`."""

    entropy_conditioning: bool = True
    """Whether to give samples predicted with certainty a larger weight in the discriminator's loss (CDAN+E)."""


@ALGORITHMS.register("cdan", options=CdanOptions, requires={"unlabeled", "target"})
class CDAN(nn.Module):
    """Conditional domain-adversarial training: the discriminator sees the product of features and predictions; samples
    predicted with certainty have a larger weight (`entropy_conditioning`).

    Source: Long et al. 2018, "Conditional adversarial domain adaptation" (arXiv 1705.10667).
    """

    of_features: Tensor
    of_classes: Tensor

    def __init__(self, context: Context) -> None:
        """Creates the discriminator for the numbers of features and classes in `context`."""
        super().__init__()
        size = context.num_features * context.num_classes
        self.projects = size > _MAX_MAP
        if self.projects:
            self.register_buffer("of_features", torch.randn(context.num_features, _MAX_MAP))
            self.register_buffer("of_classes", torch.randn(context.num_classes, _MAX_MAP))
        self.discriminator = _discriminator(min(size, _MAX_MAP), context.options(CdanOptions).discriminator_width)

    def forward(self, step: Step) -> Terms:
        """Computes the discriminator's binary cross-entropy: the average of a weighted mean over source and one over
        target samples.
        """
        coefficient, assignments = warm_start(step.progress), step.outputs.assignments
        joint = self._multilinear(step.outputs.features, assignments.detach())
        weight = None
        if step.options(CdanOptions).entropy_conditioning:
            weight = 1.0 + torch.exp(-reverse_gradient(_entropy(assignments), coefficient))
        logits = self.discriminator(reverse_gradient(joint, coefficient))
        return {"adversarial": _domain_loss(logits, len(step.batch.labels), weight)}

    def _multilinear(self, features: Tensor, assignments: Tensor) -> Tensor:
        if self.projects:
            product: Tensor = (features @ self.of_features) * (assignments @ self.of_classes) / _MAX_MAP**0.5
            return product
        return (assignments.unsqueeze(2) * features.unsqueeze(1)).flatten(1)


@ALGORITHMS.register("mcc", requires={"unlabeled", "target"})
def mcc(step: Step) -> Terms:
    """Minimum class confusion: penalises target predictions that are divided between classes, weighted by their
    certainty.

    Source: Jin et al. 2020, "Minimum class confusion" (arXiv 1912.03699), with its temperature 2.5.
    """
    probability_UK = (step.unlabeled_logits / _MCC_TEMPERATURE).softmax(dim=1)
    certainty_U = 1.0 + torch.exp(-_entropy(probability_UK)).detach()
    weight_U = certainty_U * len(certainty_U) * world_size() / all_reduce_sum(certainty_U.sum())
    confusion_KK = all_reduce_sum(probability_UK.T @ (weight_U.unsqueeze(1) * probability_UK))
    confusion_KK = confusion_KK / confusion_KK.sum(dim=1, keepdim=True).clamp_min(torch.finfo(confusion_KK.dtype).tiny)
    num_classes = len(confusion_KK)
    return {"confusion": (confusion_KK.sum() - confusion_KK.trace()) / num_classes}


def _entropy(probability: Tensor) -> Tensor:
    """Computes the entropy of each sample's prediction in nats."""
    return -(probability * probability.clamp_min(torch.finfo(probability.dtype).tiny).log()).sum(dim=1)


def _domain_loss(logits: Tensor, num_source: int, weight: Tensor | None) -> Tensor:
    """Computes the cross-entropy of domain logits (B + U, 1), source samples first; weights are normalised within each
    domain.
    """
    flat = logits.squeeze(1)
    target = torch.cat([torch.ones_like(flat[:num_source]), torch.zeros_like(flat[num_source:])])
    loss = functional.binary_cross_entropy_with_logits(flat, target, reduction="none")
    if weight is None:
        return 0.5 * (loss[:num_source].mean() + loss[num_source:].mean())
    parts = ((loss[:num_source], weight[:num_source]), (loss[num_source:], weight[num_source:]))
    return 0.5 * torch.stack([(part * w).mean() / _mean_of_all(w) for part, w in parts]).sum()


def _mean_of_all(weight: Tensor) -> Tensor:
    """Computes the mean over the samples of all workers, without gradient."""
    return all_reduce_sum(weight.detach().mean()) / world_size()
