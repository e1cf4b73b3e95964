"""Data sets as a reader gives them, and small files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supercm_ray.config import Config, PlaceConfig, Study
from supercm_ray.data import DATASETS, Dataset, DeviceData, Splits, split_dataset, standardised
from supercm_ray.errors import StudyError
from supercm_ray.training.evaluate import evaluate
from supercm_ray.training.loop import fit
from supercm_ray.training.preflight import load_checked
from supercm_ray.training.state import TrainState


def read(name: str, root: Path, **options: object) -> Dataset:
    """The data set as its reader gives it, whatever its role in a study."""
    place = PlaceConfig(name=name, root=str(root), options=options)
    return DATASETS.find(name).make(place, place.options)


def refused(name: str, root: Path, **options: object) -> str:
    with pytest.raises(StudyError) as caught:
        read(name, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def save(image: np.ndarray | Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def config(data: dict[str, object], **leaves: object) -> Config:
    """A configuration of this data section: a small network on the CPU, with 20 steps an epoch."""
    training = {"num_epochs": 5, "steps_per_epoch": 20, "labeled_batch_size": 16, "unlabeled_batch_size": 32}
    base = {
        "data": data,
        "model": {"name": "mlp", "options": {"channels": [32]}},
        "training": {**training, "learning_rate": 3e-3, "device": "cpu"},
    }
    return Config.model_validate(base).replace(leaves)


def checked(chosen: Config) -> tuple[Dataset, Splits]:
    """The data set of a configuration, checked as before a study, and its splits."""
    dataset = load_checked(Study(name="study", base=chosen))
    return dataset, split_dataset(dataset, chosen)


def metrics(chosen: Config) -> dict[str, float]:
    """The metrics of a run's last epoch, and of the test split if there is one."""
    dataset, splits = checked(chosen)
    dataset = standardised(dataset, splits, chosen.data)
    device = torch.device("cpu")
    data = DeviceData.of(dataset, splits, device)
    state = TrainState.create(chosen, dataset, device, len(splits.unlabeled))
    *_, found = fit(state, data)
    return {**found, **(evaluate(state.ema_model, data, data.test).metrics("test") if len(splits.test) else {})}


def stopped(chosen: Config) -> str:
    """The error in one line with which a study of this configuration ends before it begins."""
    with pytest.raises(StudyError) as caught:
        checked(chosen)
    assert "\n" not in str(caught.value)
    return str(caught.value)


__all__ = ["checked", "config", "metrics", "noise", "read", "refused", "save", "stopped"]
