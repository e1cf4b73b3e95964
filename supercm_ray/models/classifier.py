"""The whole network: pixels to features, logits and assignments."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from supercm_ray.config import Config
from supercm_ray.core import ClusteringModule
from supercm_ray.data import Dataset
from supercm_ray.models.backbones import build_backbone

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""By which torchvision's weights want pixels standardised."""


class Outputs(NamedTuple):
    """features (B, D), logits (B, K), assignments (B, K)."""

    features: Tensor
    logits: Tensor
    assignments: Tensor


class Classifier(nn.Module):
    """Standardises pixels, then backbone and clustering module."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, module: ClusteringModule, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        """Args: the two parts, and mean and standard deviation of the pixels by channel."""
        super().__init__()
        self.backbone = backbone
        self.clustering = module
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Outputs:
        """Maps images (B, C, H, W), fp32 in [0, 1]."""
        features = self.backbone((images - self.mean) / self.std)
        return Outputs(features, *self.clustering(features))


def build_classifier(config: Config, dataset: Dataset) -> Classifier:
    """The network for this configuration and data set, with fresh weights from torch's global generator."""
    backbone = build_backbone(dataset.shape, config.model)
    num_features = int(backbone.num_features)  # type: ignore[arg-type]
    module = ClusteringModule(num_features, dataset.num_classes, temperature=config.algorithm.temperature)
    pretrained = config.model.weights is not None
    mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if pretrained else (dataset.mean, dataset.std)
    return Classifier(backbone, module, mean, std)
