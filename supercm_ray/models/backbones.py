"""Backbones: modules from images (B, C, H, W), fp32, standardised, to features (B, D)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from pydantic import Field, model_validator
from torch import Tensor, nn

from supercm_ray.config import ModelConfig, OptionsModel, Registry, rule_error
from supercm_ray.models.timm_backbone import TIMM, TimmBackbone, check_timm, timm_image_size
from supercm_ray.models.torchvision_backbone import TorchvisionBackbone, torchvision_image_size, torchvision_names
from supercm_ray.models.weights import WeightsOptions, load_weights
from supercm_ray.models.wide_resnet import WideResNet

Shape = tuple[int, int, int]


class Bottleneck(nn.Module):
    """A backbone followed by a linear layer with BatchNorm and ReLU."""

    def __init__(self, backbone: nn.Module, num_inputs: int, width: int) -> None:
        """Appends a layer of `width` units to a backbone with `num_inputs` features."""
        super().__init__()
        self.backbone = backbone
        self.layers = nn.Sequential(nn.Linear(num_inputs, width), nn.BatchNorm1d(width), nn.ReLU())
        self.num_features = width
        self.pixel_statistics = getattr(backbone, "pixel_statistics", None)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to features (B, D)."""
        features: Tensor = self.layers(self.backbone(images))
        return features


class SmallCNN(nn.Module):
    """Convolutions of 3x3 with BatchNorm and LeakyReLU(0.1), each followed by pooling while the shorter side has 8
    pixels or more, then a global average, so that the averaged values cover a good part of the image, be it of 8x8 or
    of 28x28 pixels.
    """

    def __init__(self, shape: Shape, channels: tuple[int, ...]) -> None:
        """Creates the layers.

        Args:
            shape: (C, H, W) of an image.
            channels: output channels of each convolution; the last is D.
        """
        super().__init__()
        layers: list[nn.Module] = []
        side = min(shape[1:])
        for fan_in, fan_out in zip((shape[0], *channels), channels, strict=False):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.LeakyReLU(0.1)]
            if side >= 8:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        self.layers = nn.Sequential(*layers)
        self.num_features = channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to features (B, D)."""
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))


class MLP(nn.Module):
    """Linear, BatchNorm and ReLU for each of `channels`, on flattened inputs such as precomputed features."""

    def __init__(self, in_features: int, channels: tuple[int, ...]) -> None:
        """Creates the layers.

        Args:
            in_features: number of values of an input.
            channels: widths of the layers; the last is D.
        """
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in zip((in_features, *channels), channels, strict=False):
            layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.num_features = channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Maps inputs (B, C, H, W) to features (B, D)."""
        features: Tensor = self.layers(images)
        return features


class Identity(nn.Module):
    """The flattened inputs as they are: the head is then a linear classifier of these."""

    def __init__(self, in_features: int) -> None:
        """Sets the number of features to the number of values of an input."""
        super().__init__()
        self.num_features = in_features

    def forward(self, images: Tensor) -> Tensor:
        """Maps inputs (B, C, H, W) to features (B, D)."""
        return images.flatten(1)


def _register_late(name: str) -> None:
    """Registers a model of timm that is named, or else the classification models of torchvision.

    Raises:
        StudyError: for a name that begins like timm's and is none, and if timm is not installed.
    """
    if name.startswith(TIMM):
        check_timm(name)
        BACKBONES.add(name, partial(_timm, name), options=WeightsOptions)
    else:
        _register_torchvision()


@cache
def _register_torchvision() -> None:
    """Registers the classification models of torchvision, except under names that are already registered."""
    taken = BACKBONES.entries()
    for name in torchvision_names():
        if name not in taken:
            BACKBONES.add(name, partial(_torchvision, name), options=WeightsOptions)


BACKBONES: Registry[Callable[..., nn.Module]] = Registry(
    "backbone", "model.name", "supercm_ray.models", late=_register_late
)
"""Backbones by name: functions from the shape (C, H, W) of an image and the backbone's options to a module that maps
images (B, C, H, W) to features (B, num_features) and has the attribute `num_features`. If its attribute
`pixel_statistics` is a pair, mean and standard deviation by channel, pixels are standardised with it instead of the
data set's own. If its options derive from `WeightsOptions`, `build_backbone` loads the weights that they name."""


class ChannelsOptions(WeightsOptions):
    """Options of networks with freely chosen widths of layers."""

    channels: tuple[int, ...] = Field((32, 64, 64), min_length=1)
    """Output channels (or units) of each layer, each from 1; the last is the feature dimension."""

    @model_validator(mode="after")
    def _check(self) -> ChannelsOptions:
        if min(self.channels) < 1:
            raise rule_error("`channels >= 1`", f"channels={list(self.channels)}", path="channels")
        return self


@BACKBONES.register("small_cnn", options=ChannelsOptions)
def _small_cnn(shape: Shape, options: ChannelsOptions) -> nn.Module:
    return SmallCNN(shape, options.channels)


@BACKBONES.register("mlp", options=ChannelsOptions)
def _mlp(shape: Shape, options: ChannelsOptions) -> nn.Module:
    return MLP(shape[0] * shape[1] * shape[2], options.channels)


@BACKBONES.register("identity")
def _identity(shape: Shape, options: OptionsModel) -> nn.Module:
    return Identity(shape[0] * shape[1] * shape[2])


@BACKBONES.register("wrn_28_2", options=WeightsOptions)
def _wrn_28_2(shape: Shape, options: WeightsOptions) -> nn.Module:
    return WideResNet(shape[0], depth=28, width=2)


@BACKBONES.register("wrn_28_8", options=WeightsOptions)
def _wrn_28_8(shape: Shape, options: WeightsOptions) -> nn.Module:
    return WideResNet(shape[0], depth=28, width=8)


def _torchvision(name: str, shape: Shape, options: WeightsOptions) -> nn.Module:
    return TorchvisionBackbone(name, pretrained=options.weights is not None)


def _timm(name: str, shape: Shape, options: WeightsOptions) -> nn.Module:
    return TimmBackbone(name, pretrained=options.weights is not None)


def published_image_size(name: str) -> int | None:
    """Returns the side in pixels of the images that a backbone's published weights were evaluated on, or None for a
    backbone without published weights.
    """
    if name.startswith(TIMM):
        return timm_image_size(name)
    make = BACKBONES.find(name).make
    is_torchvisions = isinstance(make, partial) and make.func is _torchvision
    return torchvision_image_size(name) if is_torchvisions else None


def build_backbone(shape: Shape, config: ModelConfig, *, load: bool = True) -> nn.Module:
    """Creates the backbone that the configuration names, for images of this shape (C, H, W).

    Args:
        shape: (C, H, W) of an image.
        config: the model section of the configuration.
        load: whether to load the weights that the options name; without, the backbone is the same in all but its
            weights, which a checkpoint can then replace.

    Raises:
        StudyError: for weights that do not fit.
    """
    backbone = BACKBONES.find(config.name).make(shape, config.options)
    if load and isinstance(config.options, WeightsOptions) and config.options.weights is not None:
        load_weights(backbone, config.options.weights, config.name)
    if config.bottleneck is None:
        return backbone
    return Bottleneck(backbone, int(backbone.num_features), config.bottleneck)  # type: ignore[arg-type]
