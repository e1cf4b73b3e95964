"""The section `model` of a configuration: the backbone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from supercm_ray.config.registry import NamedSection


class ModelConfig(NamedSection):
    """The backbone that maps images to features."""

    path: ClassVar[str] = "model.name"

    name: str = "small_cnn"
    """Registered name of the backbone, torchvision's name of one of its classification models, or `timm/NAME` for a
    model of timm, where that package is installed."""
    bottleneck: int | None = Field(None, ge=1)
    """Number of features put out by a linear layer with BatchNorm and ReLU between backbone and head, from 1. None: no
    such layer."""
    frozen: bool = False
    """Whether the backbone, without the bottleneck, keeps its initial weights, such as those of a file, and computes in
    eval mode throughout. Only what follows it is then trained."""
