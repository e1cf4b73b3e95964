"""A classifier reduced to class probabilities, for export and use."""

from __future__ import annotations

from torch import Tensor, nn

from supercm_ray.models.classifier import Classifier


class Predictor(nn.Module):
    """Maps images (B, C, H, W), fp32 in [0, 1], to class probabilities (B, K)."""

    def __init__(self, classifier: Classifier) -> None:
        """Wraps a trained network, without copying it."""
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Computes class probabilities (B, K)."""
        probabilities: Tensor = self.classifier(images).assignments
        return probabilities
