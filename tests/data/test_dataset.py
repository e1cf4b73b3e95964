"""Data sets in memory."""

from __future__ import annotations

import numpy as np
import pytest

from supercm_ray.data import DATASETS, UNLABELED, Dataset
from supercm_ray.errors import StudyError


def test_digits_are_what_they_are_known_as(digits: Dataset) -> None:
    assert digits.images.shape == (1797, 1, 8, 8)
    assert (digits.images.dtype, digits.images.min(), digits.images.max()) == (np.uint8, 0, 255)
    assert digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.num_classes == 10
    assert digits.class_names == tuple("0123456789")


def test_pixels_are_standardised_to_the_range_of_minus_one_to_one(digits: Dataset) -> None:
    pixels = (digits.images / 255.0 - digits.mean[0]) / digits.std[0]
    assert (pixels.min(), pixels.max()) == (-1.0, 1.0)


def test_seal_blanks_exactly_these_samples(digits: Dataset) -> None:
    indices = np.array([0, 5, 1796])
    images, labels = digits.images.copy(), digits.labels.copy()
    sealed = digits.mask_test_split(indices)
    others = np.setdiff1d(np.arange(len(labels)), indices)
    assert sealed.images[indices].max() == 0
    assert sealed.labels[indices].tolist() == [UNLABELED] * 3
    assert np.array_equal(sealed.images[others], images[others])
    assert np.array_equal(sealed.labels[others], labels[others])
    assert np.array_equal(digits.images, images), "the original is left as it was"
    assert np.array_equal(digits.labels, labels)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"`data\.name` .* got 'digit'; did you mean `digits`") as caught:
        DATASETS.find("digit")
    assert caught.value.exit_code == 2
