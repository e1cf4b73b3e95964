"""Metrics that judge a model on unlabeled samples without their labels. Shapes: N samples, D features, K classes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from supercm_ray.config import Registry
from supercm_ray.core import clustering_loss
from supercm_ray.models import Outputs

_SND_TEMPERATURE = 0.05


class Validator(Protocol):
    """A metric of a network on unlabeled samples."""

    def __call__(self, outputs: Outputs, centroids: Tensor, seen: Tensor) -> Tensor | float:
        """Computes a scalar from outputs on N unlabeled samples and centroids (K, D) of the same network's features;
        `seen` (K,) says which classes have a centroid.
        """


VALIDATORS: Registry[Validator] = Registry("metric", "objective.metric", "supercm_ray.training")
"""Metrics by name, such as `target/entropy`, that may select trials. Each is measured after every epoch; one that
requires `target` only if there is a target domain, and on its samples."""


@torch.no_grad()
def unlabeled_metrics(outputs: Outputs, centroids: Tensor, seen: Tensor, *, has_target: bool) -> dict[str, float]:
    """Computes all registered metrics by name (see `Validator`); without a target, those that do not require one."""
    entries = applicable(has_target=has_target)
    values = [
        torch.as_tensor(VALIDATORS.find(name).make(outputs, centroids, seen), dtype=torch.float64, device=seen.device)
        for name in entries
    ]
    return dict(zip(entries, torch.stack(values).tolist(), strict=True)) if values else {}


def applicable(*, has_target: bool) -> list[str]:
    """Returns the names of the registered metrics that can be measured with, or without, a target domain."""
    return [name for name, entry in VALIDATORS.entries().items() if has_target or "target" not in entry.requires]


@VALIDATORS.register("target/entropy", requires={"target"}, direction="minimize")
def _mean_entropy(outputs: Outputs, centroids: Tensor, seen: Tensor) -> Tensor:
    """Computes the mean entropy of a prediction in nats; less is surer."""
    return _entropy(outputs.assignments).mean()


@VALIDATORS.register("target/information_maximisation", requires={"target"})
def _information_maximisation(outputs: Outputs, centroids: Tensor, seen: Tensor) -> Tensor:
    """Computes the entropy of the mean prediction minus the mean entropy; more is better."""
    p_NK = outputs.assignments
    return _entropy(p_NK.mean(dim=0, keepdim=True))[0] - _entropy(p_NK).mean()


@VALIDATORS.register("target/snd", requires={"target"})
def _neighbourhood_density(outputs: Outputs, centroids: Tensor, seen: Tensor) -> Tensor:
    """Computes the soft neighbourhood density, the entropy of the similarities of a prediction to the others at
    temperature 0.05; more is denser. Source: Saito et al. 2021 (arXiv 2108.10860).
    """
    unit_NK = functional.normalize(outputs.assignments, dim=1)
    similarity_NN = (unit_NK @ unit_NK.T).fill_diagonal_(-torch.inf) / _SND_TEMPERATURE
    return _entropy(similarity_NN.softmax(dim=1)).mean()


@VALIDATORS.register(
    "target/distortion",
    requires={"target"},
    direction="minimize",
    moved_by={"algorithm.clustering_weight", "algorithm.temperature"},
)
def _distortion(outputs: Outputs, centroids: Tensor, seen: Tensor) -> Tensor:
    """Computes the clustering loss without its prior, divided by the variance of the features, so that it does not
    depend on their scale; less is tighter. It is 1 if features differ by no more than rounding.

    The clustering loss is what a clustering weight trains, and a lower temperature lowers it, whatever the predictions
    are worth.
    """
    x_ND = outputs.features.double()
    variance = x_ND.var(dim=0, correction=0).mean()
    ratio = clustering_loss(x_ND, outputs.logits, centroids, seen=seen) / variance
    return ratio.where(variance > torch.finfo(torch.float32).eps ** 2 * x_ND.square().mean(), 1.0)


def _entropy(p_NK: Tensor) -> Tensor:
    return -torch.xlogy(p_NK, p_NK).sum(dim=1)
