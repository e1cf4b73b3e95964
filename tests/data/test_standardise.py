"""Standardisation of vectors by their training samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from supercm_ray.config import Config, DataConfig
from supercm_ray.data import Dataset, split_dataset, standardised

VECTORS = (np.random.default_rng(0).normal(size=(120, 4)) * [1, 1e6, 1e-6, 0] + [5, 0, 3e-6, 7]).astype(np.float32)
DATASET = Dataset("vectors", VECTORS[:, :, None, None], np.arange(120) % 3, ("a", "b", "c"), (0.0,), (1.0,))


def test_statistics_are_those_of_training_samples() -> None:
    config = Config(data=DataConfig(label_ratio=0.2))
    splits = split_dataset(DATASET, config)
    found = standardised(DATASET, splits, config.data)
    rows = VECTORS[np.concatenate([splits.labeled, splits.unlabeled])].astype(np.float64)
    assert np.allclose(found.mean, rows.mean(axis=0))
    assert np.allclose(found.std, [*rows.std(axis=0)[:3], 1.0])
    elsewhere = DATASET.images.copy()
    elsewhere[splits.test] = elsewhere[splits.val] = 1e9
    assert standardised(dataclasses.replace(DATASET, images=elsewhere), splits, config.data).std == found.std


@pytest.mark.parametrize(
    ("setting", "l2_normalise", "expected"),
    [("auto", False, True), ("auto", True, False), ("on", True, True), ("off", False, False)],
)
def test_auto_leaves_vectors_of_length_one(setting: str, l2_normalise: bool, expected: bool) -> None:
    data = DataConfig.model_validate({"label_ratio": 0.2, "standardise": setting})
    options = type("Options", (), {"l2_normalise": l2_normalise})()
    data = data.model_copy(update={"options": options})
    splits = split_dataset(DATASET, Config(data=DataConfig(label_ratio=0.2)))
    assert (standardised(DATASET, splits, data) is not DATASET) == expected


def test_images_are_left_alone(digits: Dataset) -> None:
    config = Config(data=DataConfig(label_ratio=0.2, standardise="on"))
    assert standardised(digits, split_dataset(digits, config), config.data) is digits


def test_rounding_is_no_spread() -> None:
    still = np.nextafter(np.float32(1e9), np.float32(2e9), dtype=np.float32)
    images = DATASET.images.copy()
    images[:, 3] = np.where(np.arange(120) % 2, still, 1e9)[:, None, None]
    config = Config(data=DataConfig(label_ratio=0.2))
    dataset = dataclasses.replace(DATASET, images=images)
    assert standardised(dataset, split_dataset(dataset, config), config.data).std[3] == 1.0
