"""Backbones: images (B, C, H, W), fp32, standardised, to features (B, D)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from supercm_ray.config import ModelConfig
from supercm_ray.errors import StudyError, nearest


class SmallCNN(nn.Module):
    """3x3 convolutions with BatchNorm and LeakyReLU(0.1), halved once after the first, then a global average."""

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        """Args: image channels and the output channels of each convolution, of which the last is D."""
        super().__init__()
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(zip((in_channels, *channels), channels, strict=False)):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.LeakyReLU(0.1)]
            layers += [nn.MaxPool2d(2)] if i == 0 else []
        self.layers = nn.Sequential(*layers)
        self.num_features = channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D)."""
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))


BACKBONES: dict[str, Callable[[int, ModelConfig], nn.Module]] = {
    "small_cnn": lambda in_channels, config: SmallCNN(in_channels, config.channels),
}
"""Backbones by name: functions of the image channels and the configuration, to a module with `num_features`."""


def find_backbone(name: str) -> Callable[[int, ModelConfig], nn.Module]:
    """What builds the backbone of this name.

    Raises:
        StudyError: for a name that is not registered.
    """
    if name not in BACKBONES:
        raise StudyError(f"`model.name` must be a known backbone, got {name!r}; {nearest(name, BACKBONES)}")
    return BACKBONES[name]


def build_backbone(in_channels: int, config: ModelConfig) -> nn.Module:
    """The backbone that the configuration names; see `find_backbone`."""
    return find_backbone(config.name)(in_channels, config)
