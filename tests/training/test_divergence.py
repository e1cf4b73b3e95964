"""Runs that diverge, each for a reason of its own: what their error names, and that its advice helps."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from supercm_ray.data import DeviceData
from supercm_ray.errors import DivergedError
from supercm_ray.training import fit
from supercm_ray.training.divergence import diverged

CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "logits": (
        {"algorithm.temperature": 1e-50},
        r"^the untrained network .* its logits overflow, .* divided by algorithm\.temperature=1e-50; raise it$",
        {"algorithm.temperature": 1.0},
    ),
    "large logits": (
        {"algorithm.temperature": 1e-38},
        r"became inf in step 1 of epoch 1 of 3: the logits are too large, .*; raise algorithm\.temperature=1e-38$",
        {"algorithm.temperature": 1.0},
    ),
    "parameters": (
        {"training.learning_rate": 1e30},
        r"became nan after [\d.]+ in step 2 of epoch 1 of 3: the network's outputs overflow, since its parameters or "
        r"their gradients have grown too large; lower training\.learning_rate=1e\+30$",
        {"training.learning_rate": 1e-3},
    ),
    "parameters after the last step": (
        {"training.learning_rate": 1e38, "training.steps_per_epoch": 1},
        r"validation loss is not finite after epoch 1 of 3: the network's parameters .*training\.learning_rate=1e\+38$",
        {"training.learning_rate": 1e-3},
    ),
    "the weighted sum in training": (
        {"algorithm.clustering_weight": 1e20, "training.learning_rate": 1e2, "training.steps_per_epoch": 9},
        r"their weighted sum is not; lower algorithm\.clustering_weight=1e\+20 or training\.learning_rate=100$",
        {"algorithm.clustering_weight": 1.0, "training.learning_rate": 1e-3},
    ),
    "the weighted sum": (
        {"algorithm.clustering_weight": 1e39},
        r"its terms are finite, their weighted sum is not; lower algorithm\.clustering_weight=1e\+39$",
        {"algorithm.clustering_weight": 1.0},
    ),
    "the sum with another algorithm's term": (
        {"algorithm.name": "vat", "algorithm.consistency_weight": 1e39},
        r"their weighted sum is not; lower algorithm\.consistency_weight=1e\+39$",
        {"algorithm.consistency_weight": 1.0},
    ),
    "the balance prior": (
        {"algorithm.balance_alpha": 1e38, "algorithm.clustering_weight": 1.0},
        r"the balance prior is not finite; lower algorithm\.balance_alpha=1e\+38$",
        {"algorithm.balance_alpha": 1.0},
    ),
    "inputs": (
        {"data.noise_std": 1e39},
        r"its inputs are not finite; repair the data, or lower data\.noise_std=1e\+39$",
        {"data.noise_std": 0.1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_finite_is_named_and_the_advice_helps(start, case: str) -> None:
    overrides, message, remedy = CASES[case]
    state, data = start(overrides)
    with pytest.raises(DivergedError, match=message) as caught:
        list(fit(state, data))
    assert "\n" not in str(caught.value)
    assert state.history == []
    state, data = start(overrides | remedy)
    assert len(list(fit(state, data))) == 3


def test_a_term_that_outgrew_the_others_before_is_named(tiny) -> None:
    steps = [
        {"loss": 2e9, "supervised": 2.0, "clustering": 2e9},
        {"loss": math.nan, "supervised": math.nan, "clustering": math.nan},
    ]
    config = tiny({"algorithm.clustering_weight": 1.0})
    assert "or their gradients have grown too large; lower algorithm.clustering_weight=1 or " in str(
        diverged(config, steps, [])
    )
    former = {f"train/{name}": value for name, value in steps[0].items()}
    assert "after 2e+09 in step 1 of epoch 2 of 3:" in str(diverged(config, steps[1:], [{**former, "epoch": 1}]))


def broken(data: DeviceData, value: float) -> DeviceData:
    assert isinstance(data.images, torch.Tensor)
    return dataclasses.replace(data, images=torch.full_like(data.images, 1, dtype=torch.float32).mul(value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "its inputs are not finite; repair the data$"),
        (3e38, r"its features are not finite, although its inputs, of sizes up to 3e\+38, are; scale the inputs down"),
    ],
)
def test_inputs_that_no_network_can_take_are_named(start, value: float, message: str) -> None:
    state, data = start({"data.shift_pixels": 0})
    with pytest.raises(DivergedError, match=message):
        list(fit(state, broken(data, value)))


def test_weights_that_are_not_finite_are_told_from_inputs(start) -> None:
    state, data = start()
    torch.nn.init.constant_(state.model.clustering.head.weight, float("inf"))
    state.ema_model.load_state_dict(state.model.state_dict())
    with pytest.raises(
        DivergedError, match=r"its outputs are not finite, although its inputs, .* or check the weights"
    ):
        list(fit(state, data))


def test_a_later_epoch_and_the_term_that_failed_alone_are_named(start) -> None:
    state, data = start({"algorithm.clustering_weight": 1.0})
    run = fit(state, data)
    next(run)
    state.centroids.value.fill_(1e30)
    expected = (
        r"became nan after [\d.]+ in step 1 of epoch 2 of 3: not finite among its terms: clustering, since squared "
        r"distances of features to centroids overflow; lower algorithm\.clustering_weight=1 or training\.learning_rate="
    )
    with pytest.raises(DivergedError, match=expected):
        next(run)
    assert len(state.history) == 1
