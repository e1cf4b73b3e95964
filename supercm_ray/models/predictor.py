"""A classifier reduced to class probabilities, for export and use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supercm_ray.data import as_floats
from supercm_ray.models.classifier import Classifier


class Predictor(nn.Module):
    """Maps images (B, C, H, W), in uint8 or in fp32 within [0, 1], or vectors (B, D) to class probabilities (B, K)."""

    def __init__(self, classifier: Classifier, *, l2_normalise: bool = False) -> None:
        """Wraps a trained network, without copying it.

        Args:
            classifier: the network.
            l2_normalise: whether each vector is divided by its Euclidean length first.
        """
        super().__init__()
        self.classifier = classifier
        self.l2_normalise = l2_normalise

    def forward(self, inputs: Tensor) -> Tensor:
        """Computes class probabilities (B, K)."""
        if inputs.ndim == 2:
            inputs = (unit_length(inputs) if self.l2_normalise else inputs)[:, :, None, None]
        probabilities: Tensor = self.classifier(as_floats(inputs)).assignments
        return probabilities


def unit_length(vectors: Tensor) -> Tensor:
    """Divides vectors (N, D) by their Euclidean lengths."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths.clamp_min(torch.finfo(vectors.dtype).tiny)
