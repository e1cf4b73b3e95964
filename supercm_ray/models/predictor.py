"""A classifier reduced to what a user of the model needs."""

from __future__ import annotations

from torch import Tensor, nn

from supercm_ray.models.classifier import Classifier


class Predictor(nn.Module):
    """Maps images (B, C, H, W), fp32 in [0, 1], to class probabilities (B, K)."""

    def __init__(self, classifier: Classifier) -> None:
        """Args: the trained network, which is shared and not copied."""
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities (B, K)."""
        probabilities: Tensor = self.classifier(images).assignments
        return probabilities
