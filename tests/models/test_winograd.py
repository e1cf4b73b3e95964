"""Winograd's convolutions against torch's."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from supercm_ray.models import cpp_compiler, use_winograd, winograd
from supercm_ray.models.wide_resnet import WideResNet
from supercm_ray.models.winograd import WinogradConv2d, winograd_convolution, winograd_weight_gradient

pytestmark = pytest.mark.skipif(cpp_compiler() is None, reason="no C++ compiler")


def case(n: int, c: int, k: int, h: int, w: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(n * h)
    images, weight, gradient = torch.randn(n, c, h, w), torch.randn(k, c, 3, 3) / c**0.5, torch.randn(n, k, h, w)
    return images.requires_grad_(), weight.requires_grad_(), gradient


@pytest.mark.parametrize(
    "sizes",
    [
        (3, 16, 32, 8, 8),
        (2, 32, 16, 7, 9),
        (1, 48, 48, 1, 1),
        (5, 16, 16, 2, 13),
        (40, 16, 16, 8, 8),
        (1, 16, 80, 4, 4),
    ],
)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_values_and_gradients_are_those_of_the_plain_convolution(sizes: tuple[int, ...], num_threads: int) -> None:
    images, weight, gradient = case(*sizes)
    expected = functional.conv2d(images.double(), weight.double(), padding=1)
    expected_gradients = torch.autograd.grad(expected, (images, weight), gradient.double())
    former = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        result = winograd_convolution(images, weight)
        gradients = torch.autograd.grad(result, (images, weight), gradient)
    finally:
        torch.set_num_threads(former)
    for ours, theirs in zip((result, *gradients), (expected, *expected_gradients), strict=True):
        scale = theirs.abs().max().item()
        assert_close(ours.double(), theirs.double(), rtol=0, atol=2e-5 * scale)


def test_any_order_in_memory() -> None:
    images, weight, _ = case(2, 16, 16, 6, 6)
    expected = winograd_convolution(images, weight)
    for other in (
        images.contiguous(memory_format=torch.channels_last),
        images.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        assert torch.equal(winograd_convolution(other, weight), expected)
    assert torch.equal(winograd_convolution(images, weight.contiguous(memory_format=torch.channels_last)), expected)


def test_the_same_result_each_time() -> None:
    images, weight, gradient = case(9, 16, 16, 8, 8)
    results = [(winograd_convolution(images, weight), winograd_weight_gradient(images, gradient)) for _ in range(3)]
    assert all(torch.equal(a, b) for one in results[1:] for a, b in zip(one, results[0], strict=True))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_torch_knows_the_operations() -> None:
    images, weight, gradient = case(1, 16, 16, 4, 4)
    torch.library.opcheck(winograd_convolution, (images, weight), test_utils=("test_schema", "test_faketensor"))
    torch.library.opcheck(
        winograd_weight_gradient, (images.detach(), gradient), test_utils=("test_schema", "test_faketensor")
    )


def test_a_network_keeps_its_parameters_and_what_it_computes() -> None:
    torch.manual_seed(0)
    plain = WideResNet(3, depth=10, width=1)
    fast = copy.deepcopy(plain)
    before = dict(fast.named_parameters())
    use_winograd(fast)
    assert {name: id(p) for name, p in fast.named_parameters()} == {name: id(p) for name, p in before.items()}
    assert list(fast.state_dict()) == list(plain.state_dict())
    kinds = [type(module) for module in fast.modules() if isinstance(module, nn.Conv2d)]
    assert kinds.count(WinogradConv2d) == 4  # the stem, three strided or 1x1 and those of stride 2 stay
    images = torch.rand(4, 3, 8, 8)
    assert_close(fast(images), plain(images), rtol=1e-4, atol=1e-5)
    assert_close(fast.double()(images.double()), plain.double()(images.double()), rtol=1e-12, atol=1e-12)


def test_what_it_cannot_do_stays_as_it_is() -> None:
    layers = nn.Sequential(
        nn.Conv2d(16, 16, 3, padding=1),  # has a bias
        nn.Conv2d(16, 16, 3, bias=False),
        nn.Conv2d(16, 24, 3, padding=1, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, bias=False, groups=2),
        nn.Conv2d(16, 16, 3, padding=1, bias=False, padding_mode="reflect"),
        nn.Conv2d(16, 16, 5, padding=2, bias=False),
    )
    use_winograd(layers)
    assert not [layer for layer in layers if isinstance(layer, WinogradConv2d)]


def test_a_compiler_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(winograd, "cpp_compiler", lambda: "/bin/false")
    with pytest.raises(Exception, match="non-zero exit status"):
        winograd._build(winograd._cache_folder() / "winograd-x.so")
    assert not list((tmp_path / "supercm_ray").iterdir())
