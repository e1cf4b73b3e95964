"""Wide residual networks for small images. Shapes: B images, C channels, H by W pixels, D features."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.1


class _Block(nn.Module):
    """Two times BatchNorm, LeakyReLU and convolution, added to the input, which is convolved if the shape changes."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, *, activate_input: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        same = fan_in == fan_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)
        self.activate_input = activate_input

    def forward(self, x: Tensor) -> Tensor:
        active = functional.leaky_relu(self.norm1(x), _SLOPE)
        branch = self.conv2(functional.leaky_relu(self.norm2(self.conv1(active)), _SLOPE))
        shortcut: Tensor = self.shortcut(active if self.activate_input else x)
        output: Tensor = shortcut + branch
        return output


class WideResNet(nn.Module):
    """WRN-depth-width with LeakyReLU(0.1), BatchNorm of momentum 0.1 and eps 1e-5, and a global average; D is 64 times
    the width.

    Source: Zagoruyko and Komodakis 2016 (arXiv 1605.07146), in the form of Oliver et al. 2018 (arXiv 1804.09170).
    """

    def __init__(self, in_channels: int, depth: int, width: int) -> None:
        """Creates the layers.

        Args:
            in_channels: channels of an image.
            depth: number of layers, 6 n + 4.
            width: factor by which the layers are wider than those of a ResNet.
        """
        super().__init__()
        channels = (16, 16 * width, 32 * width, 64 * width)
        num_blocks = (depth - 4) // 6
        blocks: list[nn.Module] = []
        for group, (fan_in, fan_out) in enumerate(pairwise(channels)):
            for i in range(num_blocks):
                stride = 2 if group > 0 and i == 0 else 1
                blocks.append(_Block(fan_in if i == 0 else fan_out, fan_out, stride, activate_input=group == i == 0))
        self.stem = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.num_features = channels[-1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=_SLOPE, mode="fan_out", nonlinearity="leaky_relu")

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to features (B, D)."""
        features = functional.leaky_relu(self.norm(self.blocks(self.stem(images))), _SLOPE)
        return features.mean(dim=(2, 3))
