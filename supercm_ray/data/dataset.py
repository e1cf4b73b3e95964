"""Data sets as arrays in memory: pixels in uint8, labels in int64, the same on every machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from supercm_ray.config import DataConfig
from supercm_ray.errors import StudyError, nearest

HIDDEN_LABEL = -1
"""Stands where a label is not to be seen."""


@dataclass(frozen=True)
class Dataset:
    """All rows of a data set.

    Attributes:
        name: its registered name.
        images: (N, C, H, W), uint8, or fp32 that is taken as it is; a vector of D values is (D, 1, 1).
        labels: (N,) int64 in [0, K).
        class_names: K names.
        mean, std: what standardises pixels divided by 255, by channel; never taken from test rows.
        citation: whom to cite.
        test_rows: the rows that the data set itself keeps for the test, or None.
    """

    name: str
    images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    citation: str = ""
    test_rows: npt.NDArray[np.int64] | None = None

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def seal(self, rows: npt.NDArray[np.int64]) -> Dataset:
        """A copy in which these rows are blank and their labels hidden, for those who must not read them."""
        images, labels = self.images.copy(), self.labels.copy()
        images[rows], labels[rows] = 0, HIDDEN_LABEL
        return replace(self, images=images, labels=labels)


DATASETS: dict[str, Callable[[DataConfig], Dataset]] = {}
"""Data sets by name. A new one is a function registered here."""


def find_dataset(name: str) -> Callable[[DataConfig], Dataset]:
    """What loads the data set of this name.

    Raises:
        StudyError: for a name that is not registered.
    """
    if name not in DATASETS:
        raise StudyError(f"`data.name` must be a known data set, got {name!r}; {nearest(name, DATASETS)}")
    return DATASETS[name]


def load_dataset(data: DataConfig) -> Dataset:
    """The data set that a configuration names.

    Raises:
        StudyError: for a name that is not registered, missing or damaged files, and values that are no numbers.
    """
    return find_dataset(data.name)(data)


def channel_statistics(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel of images (N, C, H, W) divided by 255, without a copy in floats."""
    levels = np.arange(256) / 255.0
    shares = [np.bincount(images[:, c].ravel(), minlength=256) / images[:, c].size for c in range(images.shape[1])]
    means = [float(share @ levels) for share in shares]
    stds = [float(np.sqrt(share @ levels**2 - mean**2)) for share, mean in zip(shares, means, strict=True)]
    return tuple(means), tuple(max(std, 1e-6) for std in stds)


@functools.cache
def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits  # heavy, and needed for this set alone

    bunch = load_digits()
    images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[:, None]
    return Dataset(
        name="digits",
        images=images,
        labels=bunch.target.astype(np.int64),
        class_names=tuple(str(name) for name in bunch.target_names),
        mean=(0.5,),  # to [-1, 1]: no statistic of the data, test rows among them, enters
        std=(0.5,),
        citation="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
    )


DATASETS["digits"] = lambda data: _load_digits()
