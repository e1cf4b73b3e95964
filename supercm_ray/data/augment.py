"""Augmentation on the device: batched, drawn anew for each sample. Shapes: B rows, C channels, H by W pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def random_shift(images: Tensor, max_pixels: int, generator: torch.Generator) -> Tensor:
    """Shifts each image of (B, C, H, W) by its own whole number of pixels in [-max_pixels, max_pixels] along each
    axis; what comes in at the border is 0, the background.
    """
    if max_pixels == 0:
        return images
    rows, _, height, width = images.shape
    offsets_2B = torch.randint(0, 2 * max_pixels + 1, (2, rows), generator=generator, device=images.device)
    padded = functional.pad(images, (max_pixels,) * 4)
    y_BH = offsets_2B[0, :, None] + torch.arange(height, device=images.device)
    x_BW = offsets_2B[1, :, None] + torch.arange(width, device=images.device)
    row_B = torch.arange(rows, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[row_B, y_BH[:, :, None], x_BW[:, None, :]].permute(0, 3, 1, 2)
