"""Operations of the strong augmentation, by name. Shapes: B samples, C channels, H by W pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from supercm_ray.config import OptionsModel, Registry
from supercm_ray.data.draws import SampleDraws

STRONG_VIEWS: Registry[Callable[..., Tensor]] = Registry("strong augmentation", "data.strong.name", "supercm_ray.data")
"""Strong augmentations by name: functions from weakly augmented images (B, C, H, W), the options and random numbers for
the samples to images. Cutout follows."""

_NUM_OPERATIONS = 2
_RANGES = {
    "rotate": math.radians(30),
    "shear_x": 0.3,
    "shear_y": 0.3,
    "scale": 0.3,
    "shift_x": 0.3,
    "shift_y": 0.3,
    "brightness": 0.5,
    "contrast": 0.5,
}
"""Operations of `basic` and the magnitude of each at full strength; shifts are fractions of the side."""


class BasicOptions(OptionsModel):
    """Options of `basic`."""

    strength: float = Field(0.5, ge=0, le=1)
    """Strength of rotation, shear, scaling, shift, contrast and brightness, from 0 (none) to 1 (full range)."""


@STRONG_VIEWS.register("basic", options=BasicOptions)
def basic(images: Tensor, options: BasicOptions, draws: SampleDraws) -> Tensor:
    """Adds two random operations of RandAugment's kind to images (B, C, H, W), all in one affine and one photometric
    pass, with magnitudes drawn evenly from the whole range.
    """
    lots, positions = draws.uniform(2, len(images), len(_RANGES), dim=1)
    chosen = lots >= lots.topk(_NUM_OPERATIONS, dim=1).values[:, -1:]
    values = {
        name: (2 * positions[:, i] - 1) * reach * options.strength * chosen[:, i]
        for i, (name, reach) in enumerate(_RANGES.items())
    }
    images = _affine(images, values)
    return _photometric(images, values["brightness"], values["contrast"])


def _affine(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    cosine, sine = values["rotate"].cos(), values["rotate"].sin()
    scale = 1.0 + values["scale"]
    first = torch.stack([scale * cosine, values["shear_x"] - sine, 2 * values["shift_x"]], dim=1)
    second = torch.stack([values["shear_y"] + sine, scale * cosine, 2 * values["shift_y"]], dim=1)
    grid = functional.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _photometric(images: Tensor, brightness_B: Tensor, contrast_B: Tensor) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    brightness, contrast = (values[:, None, None, None] for values in (brightness_B, contrast_B))
    return ((images - mean) * (1.0 + contrast) + mean * (1.0 + brightness)).clamp(0.0, 1.0)
