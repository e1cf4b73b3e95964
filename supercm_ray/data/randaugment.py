"""RandAugment: torchvision's operations, each sample with its own choice and magnitude. Shapes: B samples, C channels,
H by W pixels.

torchvision applies one operation of one magnitude to all images of a batch, so those with a magnitude are computed here
from its definitions, and the others by it. No value is read from the device.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from supercm_ray.config import OptionsModel
from supercm_ray.data.draws import SampleDraws
from supercm_ray.data.strong import STRONG_VIEWS

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast"),
    *("sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
"""The operations of torchvision's RandAugment."""
MAX_MAGNITUDE = 30
_SHEAR, _TRANSLATION, _ANGLE, _BLEND, _BITS = 0.3, 150 / 331, math.radians(30), 0.9, 4  # at the largest magnitude


class RandAugmentOptions(OptionsModel):
    """Options of `randaugment`."""

    num_ops: int = Field(2, ge=1)
    """Number of operations, one after the other, from 1."""
    magnitude: int = Field(9, ge=0, le=MAX_MAGNITUDE)
    """Magnitude of all operations, from 0 to 30, as in torchvision's RandAugment."""
    random_magnitude: bool = False
    """Whether the magnitude of each operation is drawn evenly between 0 and `magnitude`, as for FixMatch."""


@STRONG_VIEWS.register("randaugment", options=RandAugmentOptions)
def randaugment(images: Tensor, options: RandAugmentOptions, draws: SampleDraws) -> Tensor:
    """Applies operations of random choice, sign and, if the options say so, magnitude to images (B, C, H, W) in [0, 1]
    of one or three channels.

    Source: Cubuk et al. 2020, "RandAugment" (arXiv 1909.13719).
    """
    images = images.clamp(0.0, 1.0)
    for _ in range(options.num_ops):
        chosen_B = draws.integers(len(OPERATIONS), len(images))
        share_B, lot_B = draws.uniform(2, len(images), dim=1).to(images.dtype)
        magnitude_B = (share_B if options.random_magnitude else torch.ones_like(share_B)) * options.magnitude
        sign_B = torch.where(lot_B < 0.5, -1.0, 1.0).to(images.dtype)
        images = apply_operations(images, chosen_B, magnitude_B / MAX_MAGNITUDE, sign_B)
    return images


def apply_operations(images: Tensor, chosen_B: Tensor, magnitude_B: Tensor, sign_B: Tensor) -> Tensor:
    """Applies to each image (B, C, H, W) in [0, 1] one operation.

    Args:
        images: the images.
        chosen_B: the operation's place in `OPERATIONS`.
        magnitude_B: its magnitude as a fraction of the largest.
        sign_B: 1 or -1, of operations that have two directions.
    """
    from torchvision.transforms.v2 import functional as operations  # seconds of import, which most runs do without

    is_chosen = {name: (chosen_B == i)[:, None, None, None] for i, name in enumerate(OPERATIONS)}
    signed_B = magnitude_B * sign_B
    moved = _move(images, {name: signed_B * mask.flatten() for name, mask in is_chosen.items()})
    results = {
        **dict.fromkeys(("shear_x", "shear_y", "translate_x", "translate_y", "rotate"), moved),
        "brightness": _blend(torch.zeros_like(images), images, signed_B),
        "color": _blend(operations.adjust_saturation(images, 0.0), images, signed_B),
        "contrast": _blend(operations.adjust_contrast(images, 0.0), images, signed_B),
        "sharpness": _blend(_blurred(images), images, signed_B),
        "posterize": _posterize(images, magnitude_B),
        "solarize": torch.where(images >= (1.0 - magnitude_B)[:, None, None, None], 1.0 - images, images),
        "autocontrast": operations.autocontrast(images),
        "equalize": operations.equalize(images),
    }
    output = images
    for name, result in results.items():
        output = torch.where(is_chosen[name], result, output)
    return output


def _move(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    """Shears, translates or rotates each image, by at most one of these values other than 0, to the nearest pixels."""
    height, width = images.shape[2:]
    angle, shear_x, shear_y = values["rotate"] * _ANGLE, values["shear_x"] * _SHEAR, values["shear_y"] * _SHEAR
    cosine, sine = angle.cos(), angle.sin()
    right = (values["translate_x"] * _TRANSLATION * width).trunc()
    down = (values["translate_y"] * _TRANSLATION * height).trunc()
    # From pixels of the result to those of the image, both from its centre; shears start from the first row or column.
    first = [cosine, (shear_x - sine) * height / width, (shear_x * height - 2 * right) / width]
    second = [(shear_y + sine) * width / height, cosine, (shear_y * width - 2 * down) / height]
    theta = torch.stack([torch.stack(first, dim=1), torch.stack(second, dim=1)], dim=1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="nearest", align_corners=False)


def _blend(degenerate: Tensor, images: Tensor, signed_B: Tensor) -> Tensor:
    """Moves images away from (positive values) or towards (negative ones) what the operation leaves at factor 0."""
    factor = (1.0 + _BLEND * signed_B)[:, None, None, None]
    return torch.lerp(degenerate, images, factor).clamp(0.0, 1.0)


def _blurred(images: Tensor) -> Tensor:
    """Smoothes all pixels but those of the border by the kernel of ones with a 5 in its middle."""
    if min(images.shape[2:]) <= 2:
        return images
    blurred = images.clone()
    blurred[..., 1:-1, 1:-1] = (9 * functional.avg_pool2d(images, 3, stride=1) + 4 * images[..., 1:-1, 1:-1]) / 13
    return blurred


def _posterize(images: Tensor, magnitude_B: Tensor) -> Tensor:
    """Keeps the first bits of each pixel: from 8 at magnitude 0 to 4 at the largest."""
    levels = torch.exp2((8 - _BITS * magnitude_B).round())[:, None, None, None]
    return torch.minimum((images * levels).floor(), levels - 1) / levels
