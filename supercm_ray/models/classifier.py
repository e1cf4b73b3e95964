"""The whole network, from pixels to features, logits and assignments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from supercm_ray.config import Config
from supercm_ray.core import ClusteringModule
from supercm_ray.data import Dataset
from supercm_ray.models.backbones import Bottleneck, build_backbone
from supercm_ray.models.fitted_head import FittedHead


class Outputs(NamedTuple):
    """Outputs of the network: features (B, D), logits (B, K), assignments (B, K)."""

    features: Tensor
    logits: Tensor
    assignments: Tensor


class Classifier(nn.Module):
    """Standardisation of pixels, then backbone and clustering module.

    Attributes:
        low_precision: whether training passes compute in bf16, by autocast. Outputs are in fp32 or better in any case.
        frozen: whether the trunk keeps its weights and computes in eval mode in training too.
    """

    low_precision: bool
    frozen: bool
    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, module: ClusteringModule, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        """Joins the parts.

        Args:
            backbone: a module from images to features.
            module: the clustering module.
            mean: mean of the pixels by channel.
            std: standard deviation of the pixels by channel.
        """
        super().__init__()
        self.low_precision = self.frozen = False
        self.backbone = backbone
        self.clustering = module
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Outputs:
        """Maps images (B, C, H, W), fp32 in [0, 1], to outputs."""
        standardised = (images - self.mean) / self.std
        if not self.low_precision:
            features = self.backbone(standardised)
        else:
            with torch.autocast(images.device.type, torch.bfloat16):
                features = self.backbone(standardised)
            features = features.to(images.dtype)
        return Outputs(features, *self.clustering(features))

    @property
    def trunk(self) -> nn.Module:
        """The backbone without the bottleneck."""
        return self.backbone.backbone if isinstance(self.backbone, Bottleneck) else self.backbone

    def freeze(self) -> None:
        """Excludes the trunk from training: its parameters get no gradient, and its BatchNorm statistics stay."""
        self.frozen = True
        self.trunk.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Classifier:
        """Sets the mode of all parts but a frozen trunk, which stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Switches bf16 off within the block."""
        former, self.low_precision = self.low_precision, False
        try:
            yield
        finally:
            self.low_precision = former


def build_classifier(config: Config, dataset: Dataset, *, load: bool = True) -> Classifier:
    """Creates the network for this configuration and data set, with weights drawn from torch's global generator or, if
    `load`, from the file that the configuration names.
    """
    backbone = build_backbone(dataset.shape, config.model, load=load)
    num_features = int(backbone.num_features)  # type: ignore[arg-type]
    make = FittedHead if config.algorithm.closed_form else ClusteringModule
    module = make(num_features, dataset.num_classes, temperature=config.algorithm.temperature)
    mean, std = getattr(backbone, "pixel_statistics", None) or (dataset.mean, dataset.std)
    classifier = Classifier(backbone, module, mean, std)
    if config.model.frozen:
        classifier.freeze()
    return classifier
