"""Backbones: images (B, C, H, W), fp32, standardised, to features (B, D)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from supercm_ray.config import ModelConfig
from supercm_ray.errors import StudyError, nearest
from supercm_ray.models.torchvision_backbone import TorchvisionBackbone, torchvision_names
from supercm_ray.models.wide_resnet import WideResNet

Shape = tuple[int, int, int]


class Bottleneck(nn.Module):
    """A backbone, then a linear layer with BatchNorm and ReLU."""

    def __init__(self, backbone: nn.Module, num_inputs: int, width: int) -> None:
        """Args: the backbone, how many features it has, and how many are wanted."""
        super().__init__()
        self.backbone = backbone
        self.layers = nn.Sequential(nn.Linear(num_inputs, width), nn.BatchNorm1d(width), nn.ReLU())
        self.num_features = width

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D)."""
        features: Tensor = self.layers(self.backbone(images))
        return features


class SmallCNN(nn.Module):
    """3x3 convolutions with BatchNorm and LeakyReLU(0.1), each halved while its shorter side has 8 pixels or more, then
    a global average: what is averaged has seen a good part of the image, be it one of 8x8 or of 28x28 pixels.
    """

    def __init__(self, shape: Shape, channels: tuple[int, ...]) -> None:
        """Args: the shape (C, H, W) of an image and the output channels of each convolution, the last of which is D."""
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
        """Features (B, D)."""
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))


class MLP(nn.Module):
    """Linear, BatchNorm and ReLU for each of `channels`, on flattened input such as ready-made features."""

    def __init__(self, in_features: int, channels: tuple[int, ...]) -> None:
        """Args: values of an input and the widths of the layers, of which the last is D."""
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in zip((in_features, *channels), channels, strict=False):
            layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.num_features = channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D)."""
        features: Tensor = self.layers(images)
        return features


def _wide_resnet(shape: Shape, config: ModelConfig, *, width: int) -> nn.Module:
    return WideResNet(shape[0], depth=28, width=width)


BACKBONES: dict[str, Callable[[Shape, ModelConfig], nn.Module]] = {
    "small_cnn": lambda shape, config: SmallCNN(shape, config.channels),
    "mlp": lambda shape, config: MLP(shape[0] * shape[1] * shape[2], config.channels),
    "wrn_28_2": partial(_wide_resnet, width=2),
    "wrn_28_8": partial(_wide_resnet, width=8),
}
"""Backbones by name: functions of the shape (C, H, W) of an image and the configuration, to a module with
`num_features`. Classification models of torchvision are known by their own names besides."""


def find_backbone(name: str) -> Callable[[Shape, ModelConfig], nn.Module]:
    """What builds the backbone of this name.

    Raises:
        StudyError: for a name that is not known.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name in torchvision_names():
        return lambda shape, config: TorchvisionBackbone(name, config.weights)
    known = [*BACKBONES, *torchvision_names()]
    raise StudyError(f"`model.name` must be a known backbone, got {name!r}; {nearest(name, known)}")


def build_backbone(shape: Shape, config: ModelConfig) -> nn.Module:
    """The backbone that the configuration names, for images of this shape (C, H, W).

    Raises:
        StudyError: for a name that is not known, weights that do not fit, or weights for a backbone that takes none.
    """
    if config.name in BACKBONES and config.weights is not None:
        raise StudyError(
            f"`model.weights` must be left out for {config.name}, got {config.weights!r}; only models of torchvision "
            "take them"
        )
    backbone = find_backbone(config.name)(shape, config)
    if config.bottleneck is None:
        return backbone
    return Bottleneck(backbone, int(backbone.num_features), config.bottleneck)  # type: ignore[arg-type]
