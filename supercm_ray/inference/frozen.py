"""A backbone with fixed weights, as it computes features. Shapes: B images, C channels, H by W pixels, D features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from supercm_ray.config import ModelConfig, OptionsModel
from supercm_ray.data import Dataset
from supercm_ray.errors import StudyError
from supercm_ray.models import BACKBONES, PUBLISHED, WeightsOptions, build_backbone, load_weights, published_image_size

NO_WEIGHTS = "none"
"""The value of `--weights` that stands for random weights."""


@dataclass(frozen=True)
class BackboneChoice:
    """The backbone that a command names.

    Attributes:
        name: its registered name.
        weights: a file, `default` for published weights, or `none` for random ones.
        options: its other options.
        image_size: side in pixels that images are scaled to; None for that of the data set or of published weights.
    """

    name: str
    weights: str = PUBLISHED
    options: Mapping[str, object] | None = None
    image_size: int | None = None

    def side(self, own: object) -> int | None:
        """Returns the side in pixels that images are scaled to, None to leave them as they are.

        Args:
            own: the side that the data section gives, or None.
        """
        if self.image_size is not None:
            return self.image_size
        if isinstance(own, int):
            return own
        return None if self.weights == NO_WEIGHTS else published_image_size(self.name)

    @property
    def config(self) -> ModelConfig:
        """The model section of a study file with this backbone."""
        owner = BACKBONES.find(self.name).options
        has_weights = issubclass(owner, WeightsOptions)
        if not has_weights and self.weights not in (PUBLISHED, NO_WEIGHTS):
            raise StudyError(
                f"--weights must be left out for {self.name}, whose options have no `weights`, got {self.weights!r}; "
                "derive its options from WeightsOptions, or leave them out"
            )
        weights = {"weights": None if self.weights == NO_WEIGHTS else self.weights} if has_weights else {}
        options: Mapping[str, object] | OptionsModel = {**(self.options or {}), **weights}
        return ModelConfig.model_validate({"name": self.name, "options": options})


class FrozenBackbone(nn.Module):
    """A backbone in eval mode that takes pixels in uint8 and scales and standardises them itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, choice: BackboneChoice, dataset: Dataset, side: int | None) -> None:
        """Builds the backbone and loads its weights.

        Args:
            choice: the backbone.
            dataset: the data set, for the shape and statistics of its images.
            side: side in pixels that images are scaled to, or None.

        Raises:
            StudyError: for weights that do not fit, and a network that does not take images of this shape.
        """
        super().__init__()
        config = choice.config
        channels, height, width = dataset.shape
        is_vectors = (height, width) == (1, 1)
        self._size = (height, width) if side is None or is_vectors else (side, side)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.backbone = build_backbone((channels, *self._size), config, load=False)
        weights = getattr(config.options, "weights", None)
        if weights is not None:
            load_weights(self.backbone, weights, choice.name, key="--weights")
        mean, std = getattr(self.backbone, "pixel_statistics", None) or (dataset.mean, dataset.std)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.num_features = int(self.backbone.num_features)  # type: ignore[arg-type]
        self.eval().requires_grad_(False)
        self._try(choice.name, (channels, *self._size))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W), fp32 in [0, 1], to features (B, D)."""
        if images.shape[2:] != self._size:
            images = functional.interpolate(images, self._size, mode="bilinear", antialias=True)
        features: Tensor = self.backbone((images - self.mean) / self.std)
        return features

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights and of how images are prepared."""
        digest = hashlib.sha256(json.dumps([type(self.backbone).__name__, self._size]).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def _try(self, name: str, shape: tuple[int, ...]) -> None:
        try:
            self(torch.zeros(1, *shape))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StudyError(
                f"--model must take inputs of the shape of the data, got {name} for {shape}: {reason}; give another "
                "--image-size, or take another model"
            ) from error
