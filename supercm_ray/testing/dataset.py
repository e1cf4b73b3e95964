"""What every data set promises. Shapes: N samples, C channels, H by W pixels, K classes.

class TestMine(DatasetContract):
name = "mine"
options = {"file": "mine.npz"}

def write(self, folder: Path) -> None:
np.savez(folder / "mine.npz", ...)
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import UNLABELED, Dataset, DeviceData, channel_statistics, load_dataset, split_dataset
from supercm_ray.training import TrainState, fit


class DatasetContract:
    """Tests of a registered data set: its arrays, class names, statistics, test samples, and an epoch of training.

    Attributes:
        name: the registered name.
        options: as a study file gives them.
        labels_per_class: labels for the epoch of training.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, object]] = {}
    labels_per_class: ClassVar[int] = 2

    def write(self, folder: Path) -> None:
        """Writes the files that the data set reads into the folder that becomes `data.root`; no-op by default."""

    def config(self, folder: Path) -> DataConfig:
        """Returns the data section of a study file, after writing the files."""
        self.write(folder)
        named = {"name": self.name, "options": dict(self.options), "root": str(folder)}
        return DataConfig.model_validate({**named, "labels_per_class": self.labels_per_class})

    def test_inputs_are_pixels_or_numbers(self, tmp_path: Path) -> None:
        """Inputs are (N, C, H, W), in uint8 or in finite fp32, and are taken by indices in any order."""
        dataset = load_dataset(self.config(tmp_path))
        images = dataset.images
        assert len(images.shape) == 4
        assert images.dtype in (np.uint8, np.float32)
        assert 0 not in images.shape
        assert dataset.shape == images.shape[1:]
        taken = images[np.array([2, 0])]
        assert np.array_equal(taken[1], images[np.array([0])][0])
        assert taken.dtype == np.uint8 or np.isfinite(images[np.arange(images.shape[0])]).all()

    def test_labels_count_the_classes(self, tmp_path: Path) -> None:
        """Labels are (N,) in int64, -1 for unlabeled or 0 to K - 1; each class has a sample and a name of its own."""
        dataset = load_dataset(self.config(tmp_path))
        assert dataset.labels.dtype == np.int64
        assert dataset.labels.shape == dataset.images.shape[:1]
        assert dataset.num_classes >= 2
        assert set(np.unique(dataset.labels).tolist()) - {UNLABELED} == set(range(dataset.num_classes))
        assert len(set(dataset.class_names)) == len(dataset.class_names)
        assert all(isinstance(name, str) and name for name in dataset.class_names)

    def test_statistics_do_not_come_from_test_samples(self, tmp_path: Path) -> None:
        """`mean` and `std` are one number, or one a channel, and not those of samples that are or may become the test
        split.
        """
        dataset = load_dataset(self.config(tmp_path))
        for values in (dataset.mean, dataset.std):
            assert len(values) in (1, dataset.shape[0])
            assert all(math.isfinite(value) for value in values)
        assert min(dataset.std) > 0
        everything = dataset.images[np.arange(len(dataset.labels))]
        if everything.dtype == np.uint8:
            pixels = everything.astype(np.uint8, copy=False)
            allowed = _without_test(dataset)
            known = None if allowed is None else channel_statistics(pixels[allowed])
            assert (dataset.mean, dataset.std) == known or not _close(dataset, channel_statistics(pixels))

    def test_names_and_notes_are_in_order(self, tmp_path: Path) -> None:
        """Each sample has a name of its own or none has one, notes are single lines, and samples kept for validation
        are no test samples.
        """
        dataset = load_dataset(self.config(tmp_path))
        names = dataset.sample_names
        assert len(set(names)) == len(names)
        assert len(names) in (0, len(dataset.labels))
        assert all(note and "\n" not in note for note in dataset.notes)
        assert not dataset.unlabeled_because
        if dataset.val_indices is not None:
            kept = (
                dataset.val_indices
                if dataset.test_indices is None
                else np.setdiff1d(dataset.val_indices, dataset.test_indices)
            )
            assert len(np.unique(kept)) == len(dataset.val_indices)
            assert 0 <= dataset.val_indices.min() <= dataset.val_indices.max() < len(dataset.labels)

    def test_loading_is_deterministic(self, tmp_path: Path) -> None:
        """Loading again gives the same samples in the same order."""
        config = self.config(tmp_path)
        one, other = load_dataset(config), load_dataset(config)
        everything = np.arange(len(one.labels))
        assert np.array_equal(one.images[everything], other.images[everything])
        assert np.array_equal(one.labels, other.labels)
        assert (one.class_names, one.mean, one.std) == (other.class_names, other.mean, other.std)

    def test_test_samples_are_some_and_no_others(self, tmp_path: Path) -> None:
        """Test samples of the data set's own are distinct, leave samples to train on, and become the test split."""
        config = self.config(tmp_path)
        dataset = load_dataset(config)
        splits = split_dataset(dataset, Config(data=config))
        parts = [splits.labeled, splits.unlabeled, splits.val, splits.test]
        assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts)), "splits share a sample"
        test = dataset.test_indices
        if test is not None:
            assert test.ndim == 1
            assert len(np.unique(test)) == len(test)
            assert 0 <= test.min() <= test.max() < len(dataset.labels)
            assert 0 < len(test) < len(dataset.labels)
            assert sorted(splits.test.tolist()) == sorted(test.tolist())

    def test_masked_samples_are_blank(self, tmp_path: Path) -> None:
        """A masked copy, which can be sent to another process, shows neither inputs nor labels of its samples."""
        dataset = load_dataset(self.config(tmp_path))
        masked: Dataset = pickle.loads(pickle.dumps(dataset.mask_test_split(np.array([0, 2]))))  # noqa: S301 (our own)
        assert not masked.images[np.array([0, 2])].any()
        assert masked.labels[[0, 2]].tolist() == [UNLABELED] * 2
        assert np.array_equal(masked.images[np.array([1])], dataset.images[np.array([1])])

    def test_an_epoch_trains(self, tmp_path: Path) -> None:
        """A run of one epoch on the data set ends with finite metrics."""
        config = Config(
            data=self.config(tmp_path),
            model=ModelConfig.model_validate({"name": "mlp", "options": {"channels": [4]}}),
            training=TrainingConfig(
                num_epochs=1, steps_per_epoch=2, labeled_batch_size=4, unlabeled_batch_size=4, device="cpu"
            ),
        )
        dataset, device = load_dataset(config.data), torch.device("cpu")
        data = DeviceData.of(dataset, split_dataset(dataset, config), device)
        (metrics,) = fit(TrainState.create(config, dataset, device), data)
        assert all(math.isfinite(value) for value in metrics.values())


def _without_test(dataset: Dataset) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """Returns the samples that can never be in the test split; None if there are none."""
    if dataset.test_indices is None:
        return None
    return np.setdiff1d(np.arange(len(dataset.labels)), dataset.test_indices)


def _close(dataset: Dataset, statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> bool:
    """Returns whether a data set's mean and standard deviation are close to these."""
    return np.allclose(dataset.mean, statistics[0], atol=1e-6) and np.allclose(dataset.std, statistics[1], atol=1e-6)
