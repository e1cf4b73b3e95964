"""The random shift, against a loop over samples."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from supercm_ray.data import SampleDraws
from supercm_ray.data.augment import random_shift


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """One image (C, H, W) moved by whole pixels, pixel by pixel."""
    result = torch.zeros_like(image)
    _, height, width = image.shape
    for y, x in itertools.product(range(height), range(width)):
        if 0 <= y - down < height and 0 <= x - right < width:
            result[:, y, x] = image[:, y - down, x - right]
    return result


def offset(image: Tensor, output: Tensor, most: int) -> tuple[int, int]:
    """The one shift within reach that explains an output."""
    steps = range(-most, most + 1)
    (found,) = [each for each in itertools.product(steps, steps) if torch.equal(shifted(image, *each), output)]
    return found


@pytest.mark.parametrize("most", [1, 2])
def test_each_sample_gets_its_own_shift_and_zeros_at_the_border(most: int) -> None:
    images = torch.rand(150, 2, 5, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    outputs = random_shift(images, most, SampleDraws(torch.Generator().manual_seed(0), len(images)))
    assert outputs.shape == images.shape
    offsets = [offset(image, output, most) for image, output in zip(images, outputs, strict=True)]
    steps = range(-most, most + 1)
    assert set(offsets) == set(itertools.product(steps, steps)), "every shift within reach comes up"
    border = torch.stack([output for output, (down, _) in zip(outputs, offsets, strict=True) if down == most])
    assert border[:, :, :most].abs().max() == 0


def test_no_shift_is_the_identity_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before, images = generator.get_state(), torch.rand(3, 1, 4, 4)
    assert torch.equal(random_shift(images, 0, SampleDraws(generator, len(images))), images)
    assert torch.equal(generator.get_state(), before)


def test_shifts_follow_from_the_generator() -> None:
    images = torch.rand(20, 1, 6, 6)
    first, again, other = (
        random_shift(images, 2, SampleDraws(torch.Generator().manual_seed(seed), len(images))) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
