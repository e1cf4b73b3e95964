"""Data sets as arrays, the same on every machine: pixels in uint8, in memory or streamed, and labels in int64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from supercm_ray.config import Registry
from supercm_ray.data.images import MaskedImages, Pixels, StreamedImages

UNLABELED = -1
"""The label of a sample whose label is not known, or must not be read."""


@dataclass(frozen=True)
class Dataset:
    """All samples of a data set.

    Attributes:
        name: its registered name.
        images: (N, C, H, W), uint8, or fp32 that is used unchanged; a vector of D values is (D, 1, 1). Streamed images
            are in uint8 and decoded when they are taken.
        labels: (N,) int64 in [0, K), and -1 for unlabeled samples.
        class_names: K names; empty for a source without labels.
        mean, std: mean and standard deviation of pixels divided by 255, by channel, never computed from test samples.
        citation: the publication to cite.
        test_indices: the samples that the data set itself keeps for the test, or None.
        val_indices: the samples that the data set itself keeps for validation, or None.
        target_indices: the samples of the target domain, or None if there is one domain.
        has_class_names: whether `class_names` are the classes' own names, and not numbers in place of unknown names.
        sample_names: N names of the samples, such as paths relative to the root; empty if they have none.
        unlabeled_because: why no sample has a label; empty if some have one.
        notes: sentences about what was left out or is odd, each with a count and an example.
        columns: names of the columns of a table that the inputs were read from, in order; empty for other files.
        decoding: the options by which further images are decoded like these, and the type of pixels under `pixels`;
            none for vectors.
        fingerprint: a digest of the samples, their labels and the splits of a study's base; empty until it is checked.
        samples_digest: a digest of the samples and their labels alone; likewise.
    """

    name: str
    images: Pixels | StreamedImages
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    citation: str = ""
    test_indices: npt.NDArray[np.int64] | None = None
    val_indices: npt.NDArray[np.int64] | None = None
    target_indices: npt.NDArray[np.int64] | None = None
    has_class_names: bool = True
    sample_names: tuple[str, ...] = ()
    unlabeled_because: str = ""
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    decoding: Mapping[str, float | str] = field(default_factory=dict)
    fingerprint: str = ""
    samples_digest: str = ""

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def is_vectors(self) -> bool:
        """Whether samples are vectors of numbers, and not images."""
        return self.shape[1:] == (1, 1) and self.images.dtype != np.uint8

    def mask_test_split(self, indices: npt.NDArray[np.int64], trained: npt.NDArray[np.int64] | None = None) -> Dataset:
        """Returns a copy in which the images of these samples are blank and their labels hidden; only hidden for those
        that are `trained` on as unlabeled samples.
        """
        labels = self.labels.copy()
        labels[indices] = UNLABELED
        blank = indices if trained is None else np.setdiff1d(indices, trained)
        if isinstance(self.images, StreamedImages):
            return replace(self, images=MaskedImages(self.images, blank), labels=labels)
        images = self.images.copy()
        images[blank] = 0
        return replace(self, images=images, labels=labels)


DATASETS: Registry[Callable[..., Dataset]] = Registry("data set", "data.name", "supercm_ray.data")
"""Data sets by name: functions from the data section of the configuration and the data set's options to a `Dataset`.
They read labels where there are any, and none of them fails because a sample or a class has none: `load_dataset` checks
what a source needs to have. The class attribute `inherited` of the options names those that further sources, such as
a target domain, take from the data set `data.name` if they are None or False."""


def channel_statistics(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Computes mean and standard deviation by channel of images (N, C, H, W) divided by 255, without a float copy."""
    values = np.arange(256) / 255.0
    histograms = [np.bincount(images[:, c].ravel(), minlength=256) / images[:, c].size for c in range(images.shape[1])]
    means = [float(histogram @ values) for histogram in histograms]
    stds = [float(np.sqrt(h @ values**2 - mean**2)) for h, mean in zip(histograms, means, strict=True)]
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
        mean=(0.5,),  # to [-1, 1]: no statistic of the data, test samples among them, enters
        std=(0.5,),
        citation="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
    )


def _half_of_digits(first: int, *, blurred: bool) -> Dataset:
    """Returns every second image of digits from `first`; if `blurred`, each pixel is the mean of the nine around it."""
    digits = _load_digits()
    images, labels = digits.images[first::2], digits.labels[first::2]
    if blurred:
        images = (
            functional.avg_pool2d(torch.from_numpy(images).float(), 3, 1, padding=1).round().to(torch.uint8).numpy()
        )
    return replace(digits, images=images, labels=labels)


DATASETS.add("digits", lambda place, options: _load_digits())
DATASETS.add("digits_even", lambda place, options: _half_of_digits(0, blurred=False))
DATASETS.add("digits_odd_blurred", lambda place, options: _half_of_digits(1, blurred=True))
