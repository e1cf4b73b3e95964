"""The supervised loss and the ramp."""

from __future__ import annotations

import math

import pytest
import torch

from supercm_ray.core import gaussian_ramp, supervised_loss


def test_cross_entropy_is_the_mean_over_labeled_samples() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype=torch.float64)
    labels = [2, 0]
    by_hand = [
        math.log(sum(math.exp(z) for z in sample)) - sample[label]
        for sample, label in zip(logits.tolist(), labels, strict=True)
    ]
    loss = supervised_loss(logits, torch.tensor(labels))
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-12)
    assert loss.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cross_entropy_of_half_precision_logits_is_computed_in_fp32(dtype: torch.dtype) -> None:
    logits = (torch.randn(33, 10, generator=torch.Generator().manual_seed(0)) * 4).to(dtype)
    labels = torch.arange(33) % 10
    loss = supervised_loss(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(supervised_loss(logits.double(), labels).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("step", "value"), [(0, math.exp(-5)), (5, math.exp(-5 / 4)), (8, math.exp(-0.2)), (10, 1.0), (25, 1.0)]
)
def test_the_ramp_rises_to_one_over_the_warm_up(step: int, value: float) -> None:
    assert gaussian_ramp(torch.tensor(step), 10).item() == pytest.approx(value, rel=1e-6)


def test_the_ramp_is_one_without_a_warm_up() -> None:
    assert gaussian_ramp(torch.tensor(0), 0).item() == 1.0
