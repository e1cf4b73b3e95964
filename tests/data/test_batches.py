"""Samples on the device and the batches drawn from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from supercm_ray.config import Config, DataConfig
from supercm_ray.data import Dataset, DeviceData, as_floats, draw_batch, epoch_indices, make_splits

CPU = torch.device("cpu")


@pytest.fixture
def data(digits: Dataset) -> DeviceData:
    return DeviceData.of(digits, make_splits(digits.labels, DataConfig(label_ratio=0.1), 0), CPU)


@pytest.mark.parametrize(("steps", "size"), [(3, 4), (7, 5), (1, 10), (2, 35), (1, 3)])
def test_an_epoch_takes_every_sample_equally_often_up_to_one(steps: int, size: int) -> None:
    indices = torch.arange(10) * 3
    drawn = epoch_indices(indices, steps, size, torch.Generator().manual_seed(0))
    assert drawn.shape == (steps, size)
    counts = Counter(drawn.flatten().tolist())
    assert set(counts) <= set(indices.tolist())
    least = steps * size // 10
    assert {counts[sample] for sample in indices.tolist()} <= {least, least + 1}
    passes = drawn.flatten()[: least * 10].view(least, 10)
    assert all(sorted(each) == indices.tolist() for each in passes.tolist()), "each pass takes every sample once"


def test_samples_are_shuffled_anew_in_each_pass() -> None:
    indices, generator = torch.arange(10), torch.Generator().manual_seed(0)
    passes = epoch_indices(indices, 4, 10, generator).tolist()
    assert len({tuple(each) for each in passes}) == 4
    assert epoch_indices(indices, 4, 10, generator).tolist() != passes


def test_an_epoch_without_samples_is_empty() -> None:
    assert epoch_indices(torch.arange(10), 3, 0, torch.Generator()).shape == (3, 0)


def test_on_the_cpu_the_memory_is_shared(digits: Dataset, data: DeviceData) -> None:
    assert data.images.data_ptr() == digits.images.ctypes.data
    assert data.labels.data_ptr() == digits.labels.ctypes.data


def test_read_only_arrays_are_taken_without_a_warning(digits: Dataset) -> None:
    images, labels = digits.images.copy(), digits.labels.copy()
    images.setflags(write=False)
    labels.setflags(write=False)
    read_only = replace(digits, images=images, labels=labels)
    data = DeviceData.of(read_only, make_splits(labels, DataConfig(label_ratio=0.1), 0), CPU)
    assert data.images.data_ptr() == images.ctypes.data


def test_pixels_are_the_images_over_255(digits: Dataset, data: DeviceData) -> None:
    pixels = data.pixels(torch.tensor([5, 1]))
    assert pixels.dtype == torch.float32
    assert np.allclose(pixels.numpy() * 255, digits.images[[5, 1]])


def test_a_batch_holds_the_samples_asked_for(digits: Dataset, data: DeviceData) -> None:
    config = Config(data=DataConfig(label_ratio=0.1, shift_pixels=0))
    labeled, unlabeled = data.labeled[:6], data.unlabeled[:4]
    batch = draw_batch(data, labeled, unlabeled, config, torch.Generator())
    assert np.array_equal(batch.labels.numpy(), digits.labels[labeled.numpy()])
    assert torch.equal(batch.labeled_clean, data.pixels(labeled))
    assert torch.equal(batch.labeled, batch.labeled_clean)
    assert torch.equal(batch.unlabeled, data.pixels(unlabeled))


def test_a_batch_says_where_its_samples_lie_among_those_of_their_kind(data: DeviceData) -> None:
    config = Config(data=DataConfig(label_ratio=0.1))
    places = torch.tensor([7, 0, 3, 3])
    batch = draw_batch(data, data.labeled[places], data.unlabeled[places + 9], config, torch.Generator())
    assert batch.labeled_indices.tolist() == [7, 0, 3, 3]
    assert batch.unlabeled_indices.tolist() == [16, 9, 12, 12]


def test_a_batch_is_augmented_except_where_it_is_to_be_clean(data: DeviceData) -> None:
    config = Config(data=DataConfig(label_ratio=0.1, shift_pixels=2))
    labeled, unlabeled = data.labeled[:30], data.unlabeled[:30]
    batch = draw_batch(data, labeled, unlabeled, config, torch.Generator().manual_seed(0))
    assert torch.equal(batch.labeled_clean, data.pixels(labeled))
    assert not torch.equal(batch.labeled, data.pixels(labeled))
    assert not torch.equal(batch.unlabeled, data.pixels(unlabeled))


def test_a_batch_may_be_without_unlabeled_samples(data: DeviceData) -> None:
    config = Config(data=DataConfig(label_ratio=0.1))
    batch = draw_batch(data, data.labeled[:6], data.unlabeled[:0], config, torch.Generator())
    assert (len(batch.labeled), len(batch.unlabeled)) == (6, 0)


def test_pixels_become_floats_and_vectors_stay_as_they_are() -> None:
    assert torch.equal(as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0.0, 0.2, 1.0]))
    vectors = torch.tensor([0.5, 7.0])
    assert as_floats(vectors) is vectors
