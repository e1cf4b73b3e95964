"""Samples that stand in several splits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from supercm_ray.config import Config, DataConfig
from supercm_ray.data import Dataset, check_overlap, fingerprint, sample_digests, split_dataset
from supercm_ray.errors import StudyError

CONFIG = Config(data=DataConfig(label_ratio=0.2))


@pytest.fixture
def noise() -> Dataset:
    images = np.random.default_rng(0).normal(size=(200, 6, 1, 1)).astype(np.float32)
    return Dataset("noise", images, np.arange(200) % 4, tuple("abcd"), (0.0,), (1.0,))


def notes(dataset: Dataset) -> tuple[str, ...]:
    return check_overlap(dataset, split_dataset(dataset, CONFIG), sample_digests(dataset))


def test_different_samples_are_nothing_to_note(noise: Dataset) -> None:
    assert notes(noise) == ()
    assert notes(dataclasses.replace(noise, test_indices=np.arange(150, 200))) == ()


def test_twins_across_splits_are_counted(noise: Dataset) -> None:
    splits = split_dataset(noise, CONFIG)
    noise.images[splits.test[:3]] = noise.images[splits.unlabeled[:3]]
    noise.images[splits.val[0]] = noise.images[splits.labeled[0]]
    test, val = notes(noise)
    assert test.startswith(f"3 of {len(splits.test)} test samples are identical to training samples, such as")
    assert val.startswith(f"1 of {len(splits.val)} validation samples are identical to training samples")


def test_a_test_set_of_training_samples_is_refused(noise: Dataset) -> None:
    noise.images[150:] = noise.images[:50][::-1]
    tested = dataclasses.replace(noise, test_indices=np.arange(150, 200))
    splits = dataclasses.replace(split_dataset(tested, CONFIG), val=np.array([149]))
    kept = dataclasses.replace(splits, labeled=np.arange(75), unlabeled=np.arange(75, 149))
    with pytest.raises(StudyError, match="got all 50 of them identical"):
        check_overlap(tested, kept, sample_digests(tested))
    noise.images[:] = np.tile(noise.images[:4], (50, 1, 1, 1))  # four inputs in all: no wonder that they meet
    assert "50 of 50" in notes(tested)[0]


def test_source_and_target_must_differ(noise: Dataset) -> None:
    noise.images[100:] = np.random.default_rng(1).permutation(noise.images[:100])
    pair = dataclasses.replace(noise, target_indices=np.arange(100, 200))
    with pytest.raises(StudyError, match="source and target must hold different samples"):
        notes(pair)


def test_a_fingerprint_sees_inputs_labels_and_splits(noise: Dataset) -> None:
    def found(dataset: Dataset, config: Config = CONFIG) -> str:
        return fingerprint(dataset, sample_digests(dataset), split_dataset(dataset, config))

    labels = np.where(np.arange(200) < 8, noise.labels[::-1], noise.labels)
    images = np.where(np.arange(200)[:, None, None, None] == 7, 0, noise.images)
    others = {
        found(dataclasses.replace(noise, labels=labels)),
        found(dataclasses.replace(noise, images=images)),
        found(noise, CONFIG.replace({"seed": 1})),
    }
    assert len({found(noise), found(dataclasses.replace(noise)), *others}) == 4
