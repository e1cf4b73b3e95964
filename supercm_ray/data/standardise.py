"""Standardisation of vectors by their training samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from supercm_ray.config import DataConfig
from supercm_ray.data.dataset import Dataset
from supercm_ray.data.images import StreamedImages
from supercm_ray.data.splits import Splits
from supercm_ray.data.vectors import moments

_HIDDEN = 1e-2
"""Spread of features below which the variance after a linear layer, about a third of its square, comes near the 1e-5
that BatchNorm adds."""
_ROUNDING = 8 * float(np.finfo(np.float32).eps)
"""Standard deviation, relative to the mean, up to which values of fp32 differ by their rounding alone."""


def standardised(dataset: Dataset, splits: Splits, data: DataConfig) -> Dataset:
    """Returns the data set as `standardised_by` does, by the training samples, labeled and unlabeled.

    Args:
        dataset: the data set; images are returned unchanged.
        splits: the splits of the run, of which validation and test samples are not read.
        data: the data section of the configuration.
    """
    return standardised_by(dataset, splits.training, data)


def standardised_by(dataset: Dataset, samples: npt.NDArray[np.int64], data: DataConfig) -> Dataset:
    """Returns the data set with mean and standard deviation of each feature over these samples, if `data.standardise`
    says so; images unchanged. A feature that does not vary beyond the rounding of fp32 keeps the standard deviation 1.
    """
    if not is_standardised(dataset, data):
        return dataset
    mean_D, std_D = moments(_vectors(dataset), samples)
    std_D[std_D <= _ROUNDING * np.abs(mean_D)] = 1.0
    return replace(dataset, mean=tuple(mean_D.tolist()), std=tuple(std_D.tolist()))


def spread_notes(dataset: Dataset, splits: Splits, data: DataConfig) -> tuple[str, ...]:
    """Returns a note if vectors that are not standardised spread so little over the training samples that the eps of
    BatchNorm hides what differs.
    """
    if not dataset.is_vectors or is_standardised(dataset, data):
        return ()
    _, std_D = moments(_vectors(dataset), splits.training)
    spread = float(np.sqrt((std_D**2).mean()))
    if spread >= _HIDDEN:
        return ()
    return (
        f"features of {dataset.name} have a standard deviation of {spread:.2g} (root mean square), which the eps of "
        "BatchNorm hides: set data.standardise=on, or multiply them",
    )


def _vectors(dataset: Dataset) -> npt.NDArray[np.float32]:
    assert not isinstance(dataset.images, StreamedImages)
    return np.asarray(dataset.images, dtype=np.float32)


def is_standardised(dataset: Dataset, data: DataConfig) -> bool:
    """Returns whether a data set's inputs are standardised under this configuration."""
    by_length = bool(getattr(data.options, "l2_normalise", False))
    return dataset.is_vectors and (data.standardise == "on" or (data.standardise == "auto" and not by_length))
