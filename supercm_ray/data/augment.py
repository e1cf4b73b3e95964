"""Augmentation on the device, in batches, with its own random numbers for each sample. Shapes: B samples, C channels, H
by W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from supercm_ray.config import DataConfig
from supercm_ray.data.draws import SampleDraws
from supercm_ray.data.strong import STRONG_VIEWS

_CROP_TRIES = 10


def weak_view(images: Tensor, data: DataConfig, draws: SampleDraws, std: Tensor | float = 1.0) -> Tensor:
    """Crops, shifts, mirrors and adds noise to images (B, C, H, W) as the configuration says; a vector gets noise
    alone, in units of `std` (C, 1, 1).
    """
    if images.shape[2:] != (1, 1):
        images = random_crop(images, data.crop_scale, data.crop_ratio, draws)
        images = random_shift(images, data.shift_pixels, draws, data.shift_padding)
        if data.flip:
            images = random_flip(images, draws)
    if data.noise_std:
        unit = std if images.shape[2:] == (1, 1) else 1.0
        images = images + data.noise_std * unit * draws.normal(*images.shape)
    return images


def strong_view(images: Tensor, data: DataConfig, draws: SampleDraws, std: Tensor | float = 1.0) -> Tensor:
    """Adds the configured strong augmentation and Cutout to a weak view (B, C, H, W) of each sample; a vector gets the
    weak view alone, with noise in units of `std` (C, 1, 1).

    Source: DeVries and Taylor 2017, "Cutout" (arXiv 1708.04552).
    """
    images = weak_view(images, data, draws, std)
    if images.shape[2:] == (1, 1):
        return images
    images = STRONG_VIEWS.find(data.strong.name).make(images, data.strong.options, draws)
    return cutout(images, data.cutout_fraction, draws)


def random_crop(images: Tensor, min_scale: float, max_ratio: float, draws: SampleDraws) -> Tensor:
    """Replaces each image by a crop of its own, scaled to the image's size, as torchvision's RandomResizedCrop does.

    A crop's area is drawn evenly between `min_scale` and 1 of the image's, the logarithm of its ratio of width to
    height evenly up to that of `max_ratio` either way, its place evenly. Of ten such crops the first that fits is
    taken; if none does, the first one, cut at the image's sides. Nothing is drawn if `min_scale` is 1.
    """
    if min_scale == 1:
        return images
    num_samples, _, height, width = images.shape
    area, ratio, top, left = draws.uniform(4, _CROP_TRIES, num_samples, dim=2)
    area = (min_scale + (1 - min_scale) * area) * height * width
    ratio = max_ratio ** (2 * ratio - 1)
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths.clamp(1, width) == widths) & (heights.clamp(1, height) == heights)
    first = fits.int().argmax(dim=0, keepdim=True)
    top, left, heights, widths = (values.gather(0, first)[0] for values in (top, left, heights, widths))
    y_BH, x_BW = _inside(top, heights, height), _inside(left, widths, width)
    shape = (num_samples, height, width)
    grid = torch.stack([x_BW[:, None, :].expand(shape), y_BH[:, :, None].expand(shape)], dim=3)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _inside(place_B: Tensor, length_B: Tensor, side: int) -> Tensor:
    """Returns where, from -1 to 1 along a side of the image, the pixels of a crop scaled to this side are read.

    Args:
        place_B: the place of the crop in [0, 1) of what its length leaves.
        length_B: length of the crop in pixels.
        side: length of the image in pixels.
    """
    length_B = length_B.clamp(1, side)
    start = (place_B * (side - length_B + 1)).floor()[:, None]
    pixels = start + (torch.arange(side, device=place_B.device) + 0.5) * (length_B / side)[:, None]
    return 2 * pixels.clamp(start + 0.5, start + length_B[:, None] - 0.5) / side - 1


def random_shift(images: Tensor, max_pixels: int, draws: SampleDraws, padding: str = "zeros") -> Tensor:
    """Shifts each image by its own whole number of pixels in [-max_pixels, max_pixels] along each axis; pixels from
    outside the image are 0, the background, or under the padding `reflect` those of the image mirrored at its border.
    """
    if max_pixels == 0:
        return images
    indices, _, height, width = images.shape
    offsets_2B = draws.integers(2 * max_pixels + 1, 2, indices, dim=1)
    padded = functional.pad(images, (max_pixels,) * 4, mode="constant" if padding == "zeros" else padding)
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
