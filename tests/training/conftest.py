"""A configuration that trains in milliseconds, and runs of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import Dataset, DeviceData, make_splits
from supercm_ray.training import TrainState

TINY = Config(
    data=DataConfig(label_ratio=0.1),
    model=ModelConfig(options={"channels": (4, 8)}),
    training=TrainingConfig(
        num_epochs=3, steps_per_epoch=3, labeled_batch_size=12, unlabeled_batch_size=12, device="cpu"
    ),
)

Start = Callable[..., tuple[TrainState, DeviceData]]


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """Makes the tiny configuration with leaves replaced, `tiny({"seed": 1})`."""
    return lambda assignments=None: TINY.replace(assignments or {})


@pytest.fixture
def start(digits: Dataset) -> Start:
    """Makes a fresh run of the tiny configuration and its data."""

    def begin(assignments: dict[str, Any] | None = None) -> tuple[TrainState, DeviceData]:
        config, cpu = TINY.replace(assignments or {}), torch.device("cpu")
        splits = make_splits(digits.labels, config.data, config.seed)
        state = TrainState.create(config, digits, cpu, len(splits.unlabeled))
        return state, DeviceData.of(digits, splits, cpu)

    return begin
