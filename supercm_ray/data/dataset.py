"""Data sets as arrays in memory: pixels in uint8, labels in int64, the same on every machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supercm_ray.errors import StudyError, nearest

HIDDEN_LABEL = -1
"""Stands where a label is not to be seen."""


@dataclass(frozen=True)
class Dataset:
    """All rows of a data set.

    Attributes:
        name: its registered name.
        images: (N, C, H, W) uint8.
        labels: (N,) int64 in [0, K).
        class_names: K names.
        mean, std: what standardises pixels divided by 255, by channel; never taken from test rows.
        citation: whom to cite.
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    citation: str = ""

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
        return Dataset(self.name, images, labels, self.class_names, self.mean, self.std, self.citation)


DATASETS: dict[str, Callable[[], Dataset]] = {}
"""Data sets by name. A new one is a function registered here."""


def find_dataset(name: str) -> Callable[[], Dataset]:
    """What loads the data set of this name.

    Raises:
        StudyError: for a name that is not registered.
    """
    if name not in DATASETS:
        raise StudyError(f"`data.name` must be a known data set, got {name!r}; {nearest(name, DATASETS)}")
    return DATASETS[name]


def load_dataset(name: str) -> Dataset:
    """The data set of this name; see `find_dataset`."""
    return find_dataset(name)()


@functools.cache
def _digits() -> Dataset:
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


DATASETS["digits"] = _digits
