"""RandAugment against torchvision's own operations, image by image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from supercm_ray.data import STRONG_VIEWS, SampleDraws
from supercm_ray.data.randaugment import OPERATIONS, RandAugmentOptions, apply_operations, randaugment

NAMES = list(v2.RandAugment._AUGMENTATION_SPACE)


def by_torchvision(image: Tensor, name: str, magnitude: int, sign: int) -> Tensor:
    """One image (C, H, W) after torchvision's operation of this magnitude of 30."""
    reference = v2.RandAugment()
    magnitudes, signed = reference._AUGMENTATION_SPACE[name]
    values = magnitudes(31, *image.shape[-2:])
    value = 0.0 if values is None else float(values[magnitude]) * (sign if signed else 1)
    return reference._apply_image_or_video_transform(image, name, value, interpolation="nearest", fill={Tensor: None})


def test_the_operations_are_torchvision_s() -> None:
    assert [name.replace("_", "") for name in OPERATIONS] == [name.lower() for name in NAMES]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_equals_torchvision_s(name: str, channels: int) -> None:
    cases = [(magnitude, sign) for magnitude in (0, 3, 9, 14, 30) for sign in (1, -1)]
    images = torch.rand(len(cases), channels, 24, 17, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    chosen = torch.full((len(cases),), NAMES.index(name))
    magnitudes, signs = torch.tensor(cases, dtype=torch.float32).T
    outputs = apply_operations(images, chosen, magnitudes / 30, signs)
    for image, output, case in zip(images, outputs, cases, strict=True):
        wrong = (output - by_torchvision(image, name, *case)).abs() > 1e-5
        assert wrong.float().mean() < 0.005, case  # a pixel may lie between two others


def test_each_image_gets_an_operation_of_its_own() -> None:
    images = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1)).repeat(400, 1, 1, 1)
    options = RandAugmentOptions(num_ops=1, magnitude=12)
    outputs = randaugment(images, options, SampleDraws(torch.Generator().manual_seed(0), len(images)))
    expected = [by_torchvision(images[0], name, 12, sign) for name in NAMES for sign in (1, -1)]
    distance = torch.stack([(outputs - one).abs().mean(dim=(1, 2, 3)) for one in expected], dim=1)
    assert distance.min(dim=1).values.max() < 1e-3
    assert {NAMES[i // 2] for i in distance.argmin(dim=1).tolist()} == set(NAMES)


def test_magnitudes_are_fixed_or_drawn_evenly() -> None:
    images = torch.full((500, 1, 4, 4), 0.5)
    images[:, :, 0] = 0.1
    distinct = {}
    for is_random in (False, True):
        options = RandAugmentOptions(num_ops=1, magnitude=20, random_magnitude=is_random)
        outputs = randaugment(images, options, SampleDraws(torch.Generator().manual_seed(0), len(images)))
        distinct[is_random] = len(outputs.flatten(1).unique(dim=0))
    assert distinct[False] <= 28
    assert distinct[True] > 100


def test_operations_follow_one_another_and_from_the_generator() -> None:
    images = torch.rand(30, 3, 8, 8)
    once, thrice, again = (
        STRONG_VIEWS.find("randaugment").make(
            images, RandAugmentOptions(num_ops=n), SampleDraws(torch.Generator().manual_seed(3), len(images))
        )
        for n in (1, 3, 3)
    )
    assert torch.equal(thrice, again)
    assert not torch.equal(once, thrice)
    assert thrice.min() >= 0
    assert thrice.max() <= 1
