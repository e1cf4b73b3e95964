"""3x3 convolutions of stride 1 on a CPU in fp32 by Winograd's F(4x4, 3x3), which multiplies a quarter as often.

The kernels are in winograd.cpp, compiled once for the machine's own processor by the C++ compiler that is at hand and
kept in the user's cache. Shapes: N images, C channels in, K channels out, H by W pixels.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks" (arXiv 1509.09308).

Note:
    The sums are the same in another order, in fp32: results differ from the plain convolution's by about 1e-6 of
    their size.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fopenmp", "-fPIC")
_LANES = 16
_TILES = 64  # of a block, whose 36 matrices should fit into the second cache
_G = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip # noqa: E501
"""Takes three weights to six points."""


class WinogradConv2d(nn.Conv2d):
    """A convolution that goes by Winograd where that is possible: in fp32, on the CPU, outside autocast."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name for it)
        """Maps (N, C, H, W) to (N, K, H, W)."""
        if input.dtype != torch.float32 or not input.is_cpu or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        result: Tensor = winograd_convolution(input, self.weight)
        return result


def use_winograd(model: nn.Module) -> None:
    """Puts WinogradConv2d in the place of the convolutions within `model` that it can stand in for.

    Parameters stay the same objects under the same names.

    Raises:
        OSError, subprocess.SubprocessError: where the kernels cannot be built.
    """
    _kernels()
    for name, child in model.named_children():
        if type(child) is nn.Conv2d and _fits(child):
            setattr(model, name, _replaced(child))
        else:
            use_winograd(child)


def cpp_compiler() -> str | None:
    """The path of a C++ compiler: that named by CXX, or one that is usually there; None without any."""
    names = [*os.environ.get("CXX", "").split()[:1], "g++", "clang++", "c++"]
    return next((path for path in map(shutil.which, names) if path), None)


@torch.library.custom_op("supercm_ray::winograd_convolution", mutates_args=())
def winograd_convolution(images: Tensor, weight: Tensor) -> Tensor:
    """The convolution of images (N, C, H, W) with a weight (K, C, 3, 3), zeros around them, stride 1: (N, K, H, W)."""
    n, c, h, w = images.shape
    k = len(weight)
    points = _transform(images.device) @ weight.permute(2, 3, 1, 0).reshape(9, c * k)
    out = _empty(images, k)
    _call("winograd_forward", (_by_channel(images), points, out), (n, h, w, c, k, _TILES, torch.get_num_threads()))
    return out


@torch.library.custom_op("supercm_ray::winograd_weight_gradient", mutates_args=())
def winograd_weight_gradient(images: Tensor, gradient: Tensor) -> Tensor:
    """The gradient (K, C, 3, 3) of the weight from images (N, C, H, W) and the gradient (N, K, H, W) of the result."""
    n, c, h, w = images.shape
    k, parts = gradient.shape[1], torch.get_num_threads()
    sums = torch.empty(parts, 36, c * k)
    tensors = (_by_channel(images), _by_channel(gradient), sums)
    _call("winograd_weight_gradient", tensors, (n, h, w, c, k, _TILES, parts))
    return (_transform(images.device).T @ sums.sum(dim=0)).view(3, 3, c, k).permute(3, 2, 0, 1).contiguous()


@winograd_convolution.register_fake
def _(images: Tensor, weight: Tensor) -> Tensor:
    return _empty(images, len(weight))


@winograd_weight_gradient.register_fake
def _(images: Tensor, gradient: Tensor) -> Tensor:
    return images.new_empty(gradient.shape[1], images.shape[1], 3, 3)


def _keep_inputs(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    images, weight = ctx.saved_tensors  # type: ignore[attr-defined]
    of_images, of_weight = ctx.needs_input_grad  # type: ignore[attr-defined]
    return (
        winograd_convolution(gradient, weight.flip(2, 3).transpose(0, 1)) if of_images else None,
        winograd_weight_gradient(images, gradient) if of_weight else None,
    )


winograd_convolution.register_autograd(_gradients, setup_context=_keep_inputs)


def _fits(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    channels = (layer.in_channels, layer.out_channels)
    plain = shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and layer.bias is None
    return plain and all(count % _LANES == 0 for count in channels)


def _replaced(layer: nn.Conv2d) -> WinogradConv2d:
    with torch.device("meta"):
        made = WinogradConv2d(layer.in_channels, layer.out_channels, 3, padding=1, bias=False)
    made._parameters = layer._parameters
    return made.train(layer.training)


@functools.cache
def _transform(device: torch.device) -> Tensor:
    """(36, 9): from the weights of a 3x3 window to the 36 points, along both axes at once."""
    along_one = torch.tensor(_G, dtype=torch.float64, device=device)
    return torch.kron(along_one, along_one).float()


def _empty(images: Tensor, channels: int) -> Tensor:
    n, _, h, w = images.shape
    return images.new_empty(n, h, w, channels).permute(0, 3, 1, 2)


def _by_channel(images: Tensor) -> Tensor:
    """The same images with the channels next to each other in memory."""
    return images.permute(0, 2, 3, 1).contiguous()


def _call(name: str, tensors: tuple[Tensor, ...], numbers: tuple[int, ...]) -> None:
    """Calls a kernel, which takes pointers, then whole numbers; the tensors live until it returns."""
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    getattr(_kernels(), name)(*pointers, *map(ctypes.c_int64, numbers))


@functools.cache
def _kernels() -> ctypes.CDLL:
    """The compiled kernels; OpenMP's functions are found in the library that torch has loaded."""
    path = _cache_folder() / f"winograd-{_fingerprint()}.so"
    if not path.exists():
        _build(path)
    return ctypes.CDLL(str(path))


def _build(path: Path) -> None:
    compiler = cpp_compiler()
    if compiler is None:
        raise FileNotFoundError("no C++ compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        compiled, linked = f"{folder}/winograd.o", f"{folder}/winograd.so"
        for command in ([*_FLAGS, "-c", str(_SOURCE), "-o", compiled], ["-shared", compiled, "-o", linked]):
            subprocess.run([compiler, *command], check=True, capture_output=True)
        Path(linked).replace(path)  # whole or not at all, whoever else builds it at the same time


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supercm_ray"


def _fingerprint() -> str:
    """Of source, flags, compiler and processor, on all of which the compiled kernels depend."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    flags = [line for line in lines if line.startswith("flags")]
    parts = [_SOURCE.read_text(encoding="utf-8"), *_FLAGS, str(cpp_compiler()), platform.machine(), *flags[:1]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
