"""The precision and the memory of the clustering loss, against differences in float64.

Shapes: B samples, D features, K classes.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supercm_ray.core import clustering_loss

B, K, D = 96, 40, 128


def by_differences(x: Tensor, logits: Tensor, mu: Tensor) -> Tensor:
    """The distortion from one (B, K, D) tensor."""
    return (logits.softmax(dim=1) * (x.unsqueeze(1) - mu).square().sum(dim=2)).sum() / x.numel()


def problem(offset: float, spread: float, noise: float, certainty: float) -> tuple[Tensor, Tensor, Tensor]:
    """Features around centroids of a spread, logits and centroids in fp32, all but logits moved by an offset."""
    generator = torch.Generator().manual_seed(0)
    mu, labels = spread * torch.randn(K, D, generator=generator), torch.arange(B) % K
    x = mu[labels] + noise * torch.randn(B, D, generator=generator)
    logits = torch.randn(B, K, generator=generator)
    logits[range(B), labels] += certainty
    return x + offset, logits, mu + offset


def relative_error(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize(("spread", "noise", "certainty"), [(1.0, 1.0, 0.0), (10.0, 0.1, 5.0), (100.0, 0.1, 20.0)])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_fp32_keeps_its_precision(offset: float, spread: float, noise: float, certainty: float) -> None:
    tensors = [tensor.requires_grad_() for tensor in problem(offset, spread, noise, certainty)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in tensors]
    loss, exact = clustering_loss(*tensors), by_differences(*doubles)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
    gradients, wanted = torch.autograd.grad(loss, tensors), torch.autograd.grad(exact, doubles)
    assert max(map(relative_error, gradients, wanted)) < 5e-6


def test_an_unseen_centroid_does_not_move_the_center() -> None:
    x, logits, mu = problem(1000.0, 1.0, 1.0, 0.0)
    mu[0], seen = 0.0, torch.arange(K) > 0
    exact = by_differences(x.double(), logits[:, 1:].double(), mu[1:].double())
    assert clustering_loss(x, logits, mu, seen=seen).item() == pytest.approx(exact.item(), rel=1e-6)


class Largest(TorchDispatchMode):
    """The number of values of the largest tensor that any operation returns."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.size = max([self.size, *sizes])
        return result


@pytest.mark.parametrize("all_seen", [True, False])
def test_no_tensor_exceeds_the_matrices(all_seen: bool) -> None:
    x, logits, mu = (tensor.requires_grad_() for tensor in problem(0.0, 1.0, 1.0, 0.0))
    with Largest() as largest:
        clustering_loss(x, logits, mu, balance_alpha=1.5, seen=None if all_seen else torch.arange(K) > 0).backward()
    assert 0 < largest.size <= max(B * D, B * K, K * D)


def test_the_compiled_loss_is_the_same() -> None:
    compiled = torch.compile(clustering_loss, fullgraph=True, backend="aot_eager")
    tensors = [tensor.requires_grad_() for tensor in problem(1000.0, 1.0, 1.0, 0.0)]
    options: dict[str, Any] = {"balance_alpha": 1.5, "seen": torch.arange(K) > 2}
    ours, plain = compiled(*tensors, **options), clustering_loss(*tensors, **options)
    assert_close(ours, plain)
    assert_close(torch.autograd.grad(ours, tensors[:2]), torch.autograd.grad(plain, tensors[:2]))
