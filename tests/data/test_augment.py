"""The weak augmentation: shifts against a loop over samples, crops against torchvision's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms import v2

from supercm_ray.config import DataConfig
from supercm_ray.data import SampleDraws, augment, strong_view
from supercm_ray.data.augment import random_crop, random_shift


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


def test_a_reflecting_shift_is_a_crop_of_the_mirrored_image() -> None:
    images = torch.rand(100, 2, 6, 5)
    draws = [SampleDraws(torch.Generator().manual_seed(0), len(images)) for _ in range(2)]
    outputs = random_shift(images, 3, draws[0], "reflect")
    y, x = draws[1].integers(7, 2, len(images), dim=1)
    for i, image in enumerate(images):
        mirrored = v2.functional.pad(image, [3, 3, 3, 3], padding_mode="reflect")
        assert torch.equal(outputs[i], mirrored[:, y[i] : y[i] + 6, x[i] : x[i] + 5])


@pytest.mark.parametrize(("scale", "ratio"), [(0.08, 4 / 3), (0.5, 1.0), (0.01, 3.0)])
def test_a_random_crop_is_torchvision_s_resized_crop(scale: float, ratio: float, monkeypatch) -> None:
    """Of the box that it takes, which is seen in an image of its coordinates."""
    height, width = 20, 14
    images = torch.rand(200, 3, height, width)
    boxes = []
    read = augment._inside

    def seen(place: Tensor, length: Tensor, side: int) -> Tensor:
        boxes.append(((place * (side - length.clamp(1, side) + 1)).floor().int(), length.clamp(1, side).int()))
        return read(place, length, side)

    monkeypatch.setattr(augment, "_inside", seen)
    outputs = random_crop(images, scale, ratio, SampleDraws(torch.Generator().manual_seed(0), len(images)))
    (top, heights), (left, widths) = boxes
    for i, image in enumerate(images):
        box = [int(value[i]) for value in (top, left, heights, widths)]
        assert_close(outputs[i], v2.functional.resized_crop(image, *box, [height, width]), atol=1e-5, rtol=0)
    area = heights * widths / (height * width)
    assert area.min() < scale + 0.1
    assert (area > scale - 0.06).all()
    assert 0.65 < area.max() <= 1
    assert (((heights / widths).log().abs() - math.log(ratio)) < 0.3 + 2 * (scale < 0.05)).all()


def test_no_crop_is_the_identity_and_draws_nothing() -> None:
    generator, images = torch.Generator().manual_seed(0), torch.rand(3, 1, 4, 4)
    before = generator.get_state()
    assert random_crop(images, 1.0, 4 / 3, SampleDraws(generator, 3)) is images
    assert torch.equal(generator.get_state(), before)


def test_vectors_are_left_alone_by_all_but_noise() -> None:
    vectors = torch.rand(5, 7, 1, 1)
    data = DataConfig(
        label_ratio=0.1, crop_scale=0.1, flip=True, shift_padding="reflect", strong={"name": "randaugment"}
    )
    assert torch.equal(strong_view(vectors, data, SampleDraws(torch.Generator(), 5)), vectors)
