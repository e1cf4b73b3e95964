"""Standardisation of vectors by their training samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from supercm_ray.config import DataConfig
from supercm_ray.data.dataset import Dataset
from supercm_ray.data.splits import Splits

_ROUNDING = 8 * float(np.finfo(np.float32).eps)
"""Standard deviation, relative to the mean, up to which values of fp32 differ by their rounding alone."""


def standardised(dataset: Dataset, splits: Splits, data: DataConfig) -> Dataset:
    """Returns the data set with mean and standard deviation of each feature over the training samples, labeled and
    unlabeled, if `data.standardise` says so. A feature that does not vary beyond the rounding of fp32 keeps the
    standard deviation 1.

    Args:
        dataset: the data set; images are returned unchanged.
        splits: the splits of the run, of which validation and test samples are not read.
        data: the data section of the configuration.
    """
    if not is_standardised(dataset, data):
        return dataset
    vectors_ND = np.asarray(dataset.images[splits.training], dtype=np.float64).reshape(len(splits.training), -1)
    mean_D, std_D = vectors_ND.mean(axis=0), vectors_ND.std(axis=0)
    std_D[std_D <= _ROUNDING * np.abs(mean_D)] = 1.0
    return replace(dataset, mean=tuple(mean_D.tolist()), std=tuple(std_D.tolist()))


def is_standardised(dataset: Dataset, data: DataConfig) -> bool:
    """Returns whether a data set's inputs are standardised under this configuration."""
    by_length = bool(getattr(data.options, "l2_normalise", False))
    return dataset.is_vectors and (data.standardise == "on" or (data.standardise == "auto" and not by_length))
