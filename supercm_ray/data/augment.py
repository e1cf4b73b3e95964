"""Augmentation on the device, in batches, with its own random numbers for each sample. Shapes: B samples, C channels, H
by W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from supercm_ray.config import DataConfig
from supercm_ray.core import own_samples, world_size

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
"""Operations of the strong augmentation and the magnitude of each at full strength; shifts are fractions of the side.
"""


class SampleDraws:
    """Random numbers for the samples of a batch. Each of several workers draws those for the samples of all workers and
    uses its own, so that the augmentation of a sample does not depend on the number of workers.
    """

    def __init__(self, generator: torch.Generator, *parts: int) -> None:
        """Stores the arguments; nothing is drawn yet.

        Args:
            generator: the generator, in the same state on all workers.
            *parts: number of samples on one worker of each part of the batch, such as labeled and unlabeled samples.
        """
        self._generator = generator
        self._parts = parts

    def normal(self, *shape: int, dim: int = 0) -> Tensor:
        """Draws standard normal numbers of this shape, with the samples along `dim`."""
        whole = torch.randn(self._whole(shape, dim), generator=self._generator, device=self._generator.device)
        return own_samples(whole, self._parts, dim)

    def uniform(self, *shape: int, dim: int = 0) -> Tensor:
        """Draws numbers in [0, 1) of this shape, with the samples along `dim`."""
        whole = torch.rand(self._whole(shape, dim), generator=self._generator, device=self._generator.device)
        return own_samples(whole, self._parts, dim)

    def integers(self, end: int, *shape: int, dim: int = 0) -> Tensor:
        """Draws whole numbers in [0, end) of this shape, with the samples along `dim`."""
        whole = torch.randint(end, self._whole(shape, dim), generator=self._generator, device=self._generator.device)
        return own_samples(whole, self._parts, dim)

    def _whole(self, shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
        assert shape[dim] == sum(self._parts)
        return (*shape[:dim], shape[dim] * world_size(), *shape[dim + 1 :])


def weak_view(images: Tensor, data: DataConfig, draws: SampleDraws, std: Tensor | float = 1.0) -> Tensor:
    """Shifts, mirrors and adds noise to images (B, C, H, W) as the configuration says; a vector gets noise alone, in
    units of `std` (C, 1, 1).
    """
    if images.shape[2:] != (1, 1):
        images = random_shift(images, data.shift_pixels, draws)
        if data.flip:
            images = random_flip(images, draws)
    if data.noise_std:
        unit = std if images.shape[2:] == (1, 1) else 1.0
        images = images + data.noise_std * unit * draws.normal(*images.shape)
    return images


def strong_view(images: Tensor, data: DataConfig, draws: SampleDraws, std: Tensor | float = 1.0) -> Tensor:
    """Adds two random operations of RandAugment's kind and Cutout to a weak view (B, C, H, W) of each sample; a vector
    gets the weak view alone, with noise in units of `std` (C, 1, 1).

    Source: Cubuk et al. 2020, "RandAugment" (arXiv 1909.13719), with magnitudes drawn evenly from the whole range;
    DeVries and Taylor 2017, "Cutout" (arXiv 1708.04552).
    """
    images = weak_view(images, data, draws, std)
    if images.shape[2:] == (1, 1):
        return images
    lots, positions = draws.uniform(2, len(images), len(_RANGES), dim=1)
    chosen = lots >= lots.topk(_NUM_OPERATIONS, dim=1).values[:, -1:]
    values = {
        name: (2 * positions[:, i] - 1) * reach * data.strength * chosen[:, i]
        for i, (name, reach) in enumerate(_RANGES.items())
    }
    images = _affine(images, values)
    images = _photometric(images, values["brightness"], values["contrast"])
    return cutout(images, data.cutout_fraction, draws)


def random_shift(images: Tensor, max_pixels: int, draws: SampleDraws) -> Tensor:
    """Shifts each image by its own whole number of pixels in [-max_pixels, max_pixels] along each axis; pixels from
    outside the image are 0, the background.
    """
    if max_pixels == 0:
        return images
    indices, _, height, width = images.shape
    offsets_2B = draws.integers(2 * max_pixels + 1, 2, indices, dim=1)
    padded = functional.pad(images, (max_pixels,) * 4)
    y_BH = offsets_2B[0, :, None] + torch.arange(height, device=images.device)
    x_BW = offsets_2B[1, :, None] + torch.arange(width, device=images.device)
    sample_B = torch.arange(indices, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample_B, y_BH[:, :, None], x_BW[:, None, :]].permute(0, 3, 1, 2)


def random_flip(images: Tensor, draws: SampleDraws) -> Tensor:
    """Mirrors each image left to right with probability one half."""
    flipped = draws.uniform(len(images)) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def cutout(images: Tensor, fraction: float, draws: SampleDraws) -> Tensor:
    """Sets a square of each image to 0; its side is this fraction of the image's, its centre anywhere in the image."""
    indices, _, height, width = images.shape
    centres_2B = draws.uniform(2, indices, dim=1)
    y_BH = (_positions(height, images) - centres_2B[0, :, None]).abs() < fraction / 2
    x_BW = (_positions(width, images) - centres_2B[1, :, None]).abs() < fraction / 2
    return images * ~(y_BH[:, None, :, None] & x_BW[:, None, None, :])


def _positions(side: int, images: Tensor) -> Tensor:
    """Returns the centres of `side` pixels in [0, 1]."""
    return (torch.arange(side, device=images.device) + 0.5) / side


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
