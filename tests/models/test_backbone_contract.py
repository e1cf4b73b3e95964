"""Every kind of backbone keeps the contract, and so does one that a user adds; a broken one does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from supercm_ray.config import ModelConfig, OptionsModel
from supercm_ray.models import BACKBONES
from supercm_ray.testing.backbone import BackboneContract


class TestSmallCNN(BackboneContract):
    name = "small_cnn"
    options: ClassVar[dict[str, object]] = {"channels": [4, 8]}
    shape = (1, 8, 8)


class TestMLP(BackboneContract):
    name = "mlp"
    options: ClassVar[dict[str, object]] = {"channels": [8, 4]}
    shape = (6, 1, 1)


class TestWideResNet(BackboneContract):
    name = "wrn_28_2"
    shape = (3, 8, 8)


class TestTorchvision(BackboneContract):
    name = "resnet18"


class TestBottleneck(BackboneContract):
    name = "small_cnn"
    shape = (1, 8, 8)

    def config(self) -> ModelConfig:
        return ModelConfig.model_validate({"name": self.name, "options": {"channels": [4]}, "bottleneck": 6})


class PatchOptions(OptionsModel):
    """Options of the plug-in."""

    width: int = Field(6, ge=1)
    """Features."""


class Patches(nn.Module):
    """A backbone as a user would write one."""

    def __init__(self, num_channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(num_channels, width, 4, stride=4), nn.GELU())
        self.num_features = width

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean(dim=(2, 3))


@pytest.fixture(scope="module", autouse=True)
def plug_in() -> Iterator[None]:
    BACKBONES.register("patches", options=PatchOptions)(lambda shape, options: Patches(shape[0], options.width))
    yield
    BACKBONES.remove("patches")


class TestPlugIn(BackboneContract):
    name = "patches"
    options: ClassVar[dict[str, object]] = {"width": 5}
    shape = (1, 8, 8)


def test_options_of_a_plug_in_are_its_own() -> None:
    assert TestPlugIn().make().num_features == 5
    assert ModelConfig(name="patches").options == PatchOptions(width=6)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        ModelConfig(name="patches", options={"width": 0})


class Sloppy(nn.Module):
    """Draws in evaluation, squeezes a batch of one, and forgets a parameter."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(64, 3), nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return (self.layer(images.flatten(1)) + torch.randn(3)).squeeze(0)


@pytest.mark.parametrize(
    "test",
    [
        "test_gradients_reach_images_and_parameters",
        "test_evaluation_is_deterministic",
        "test_evaluation_takes_any_batch_size",
    ],
)
def test_the_contract_finds_a_sloppy_backbone(test: str) -> None:
    BACKBONES.add("sloppy", lambda shape, options: Sloppy())
    try:
        suite = type("Suite", (BackboneContract,), {"name": "sloppy", "shape": (1, 8, 8)})()
        with pytest.raises(AssertionError):
            getattr(suite, test)()
    finally:
        BACKBONES.remove("sloppy")
