"""Figures that judge a model on the target domain without its labels. Shapes: N samples, D features, K classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from supercm_ray.core import clustering_loss
from supercm_ray.models import Outputs

_SND_TEMPERATURE = 0.05


@torch.no_grad()
def target_metrics(outputs: Outputs, centroids: Tensor, seen: Tensor) -> dict[str, float]:
    """The figures by name, from outputs on unlabeled target samples and centroids (K, D) of the same network's
    features, with `seen` (K,).

    - `target/entropy`: mean entropy of a prediction in nats; less is surer.
    - `target/information_maximisation`: entropy of the mean prediction minus that mean entropy; more is better.
    - `target/snd`: soft neighbourhood density, entropy of the similarities of a prediction to the others at temperature
      0.05; more is denser. Source: Saito et al. 2021 (arXiv 2108.10860).
    - `target/distortion`: the clustering loss without its prior; less is tighter.
    """
    p_NK = outputs.assignments
    entropy = _entropy(p_NK).mean()
    diversity = _entropy(p_NK.mean(dim=0, keepdim=True))[0]
    distortion = clustering_loss(outputs.features, p_NK, centroids, seen=seen)
    figures = torch.stack([entropy, diversity - entropy, _neighbourhood_density(p_NK), distortion])
    names = ("target/entropy", "target/information_maximisation", "target/snd", "target/distortion")
    return dict(zip(names, figures.tolist(), strict=True))


def _entropy(p_NK: Tensor) -> Tensor:
    return -torch.xlogy(p_NK, p_NK).sum(dim=1)


def _neighbourhood_density(p_NK: Tensor) -> Tensor:
    unit_NK = functional.normalize(p_NK, dim=1)
    similarity_NN = (unit_NK @ unit_NK.T).fill_diagonal_(-torch.inf) / _SND_TEMPERATURE
    return _entropy(similarity_NN.softmax(dim=1)).mean()
