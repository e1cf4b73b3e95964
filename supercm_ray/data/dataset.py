"""Data sets as arrays, the same on every machine: pixels in uint8, in memory or streamed, and labels in int64."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from supercm_ray.config import FREE_TO_CHANGE, DataConfig, OptionsModel, PlaceConfig, Registry
from supercm_ray.data.classes import check_classes
from supercm_ray.data.images import JoinedImages, MaskedImages, Pixels, StreamedImages, in_shape
from supercm_ray.errors import StudyError

logger = logging.getLogger(__name__)

HIDDEN_LABEL = -1
"""The label of a sample whose label must not be read."""


@dataclass(frozen=True)
class Dataset:
    """All samples of a data set.

    Attributes:
        name: its registered name.
        images: (N, C, H, W), uint8, or fp32 that is used unchanged; a vector of D values is (D, 1, 1). Streamed images
            are in uint8 and decoded when they are taken.
        labels: (N,) int64 in [-1, K), where -1 means unlabeled.
        class_names: K names; none in a data set without labels.
        mean, std: mean and standard deviation of pixels divided by 255, by channel, never computed from test samples.
        citation: the publication to cite.
        test_indices: the samples that the data set itself keeps for the test, or None.
        target_indices: the samples of the target domain, or None if there is one domain.
        has_class_names: whether `class_names` are the classes' own names, and not numbers in place of unknown names.
        sample_names: N names of the samples, such as paths relative to the root; () if they have none.
        val_indices: the samples that the data set itself keeps for validation, or None.
        unlabeled_because: why no sample has a label; "" if some have.
        notes: sentences about what was left out or is odd, each with a count and an example.
        decoding: the options by which further images are decoded like these; none for vectors.
    """

    name: str
    images: Pixels | StreamedImages
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    citation: str = ""
    test_indices: npt.NDArray[np.int64] | None = None
    target_indices: npt.NDArray[np.int64] | None = None
    has_class_names: bool = True
    sample_names: tuple[str, ...] = ()
    val_indices: npt.NDArray[np.int64] | None = None
    unlabeled_because: str = ""
    notes: tuple[str, ...] = ()
    decoding: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def mask_test_split(self, indices: npt.NDArray[np.int64]) -> Dataset:
        """Returns a copy in which the images of these samples are blank and their labels hidden."""
        labels = self.labels.copy()
        labels[indices] = HIDDEN_LABEL
        if isinstance(self.images, StreamedImages):
            return replace(self, images=MaskedImages(self.images, indices), labels=labels)
        images = self.images.copy()
        images[indices] = 0
        return replace(self, images=images, labels=labels)


DATASETS: Registry[Callable[..., Dataset]] = Registry("data set", "data.name", "supercm_ray.data")
"""Data sets by name: functions from the data section of the configuration and the data set's options to a `Dataset`.
The class attribute `inherited` of the options names those that a target domain takes from its source if they are None
or False."""


def load_dataset(data: DataConfig) -> Dataset:
    """Loads the data set that a configuration names, or the two domains that it names as one.

    Raises:
        StudyError: for missing or damaged files, and values that are no numbers.
    """
    source = _load(data)
    if data.target is None:
        return source
    place = target_place(data, data.target)
    try:
        return join_domains(source, _load(place))
    except StudyError as error:
        raise StudyError(f"{error} (of data.target)") from error


def _load(place: PlaceConfig) -> Dataset:
    """Loads a data set that must have labels, and logs its notes."""
    dataset = DATASETS.find(place.name).make(place, place.options)
    for note in dataset.notes:
        logger.warning(note)
    check_classes(dataset)
    return dataset


def target_place(data: DataConfig, target: PlaceConfig) -> PlaceConfig:
    """Returns the configuration of the target domain, with what it omits taken from the source.

    Raises:
        StudyError: if source and target are the same.
    """
    taken = {
        name: getattr(data.options, name)
        for name in _inherited(target.options) & set(type(data.options).model_fields)
        if getattr(target.options, name) is None or getattr(target.options, name) is False
    }
    root = data.root if target.root is None else target.root
    place = target.model_copy(update={"root": root, "options": target.options.model_copy(update=taken)})
    if (place.name, place.root, _what_is_read(place)) == (data.name, data.root, _what_is_read(data)):
        raise StudyError(f"source and target must differ for data.target, got {data.name} for both; name another")
    return place


def _inherited(options: OptionsModel) -> frozenset[str]:
    """Returns the names of the options that a target domain takes from its source if it omits them."""
    names: frozenset[str] = getattr(options, "inherited", frozenset())
    return names


def _what_is_read(place: PlaceConfig) -> dict[str, object]:
    """Returns the options that decide which samples there are, without those that decide how they are read."""
    how = _inherited(place.options) | {path.split(".")[-1] for path in FREE_TO_CHANGE if path.startswith("data.")}
    return place.options.model_dump(exclude=set(how))


def join_domains(source: Dataset, target: Dataset) -> Dataset:
    """Joins both domains to one data set, source samples first, the target's images in the source's shape.

    Raises:
        StudyError: if the classes differ, or the shapes cannot be made alike.
    """
    _check_classes(source, target)
    if source.test_indices is not None:
        kept = np.setdiff1d(np.arange(len(source.labels)), source.test_indices)
        source = replace(source, images=source.images[kept], labels=source.labels[kept], test_indices=None)
    images = _join_images(source.images, target.images)
    first = len(source.labels)
    return replace(
        source,
        name=f"{source.name} to {target.name}",
        images=images,
        labels=np.concatenate([source.labels, target.labels]),
        class_names=source.class_names if source.has_class_names else target.class_names,
        has_class_names=source.has_class_names or target.has_class_names,
        citation=f"{source.citation}; {target.citation}",
        test_indices=None if target.test_indices is None else target.test_indices + first,
        target_indices=np.arange(first, first + len(target.labels)),
    )


def _check_classes(source: Dataset, target: Dataset) -> None:
    """Checks that both have the same classes in the same order; if one has no names of classes, equally many."""
    names, others = source.class_names, target.class_names
    named = source.has_class_names and target.has_class_names
    if names == others or (not named and len(names) == len(others)):
        return
    got = f"{len(names)} in {source.name} and {len(others)} in {target.name}"
    if named:
        got += f" that differ in {', '.join(sorted(set(names) ^ set(others))[:5]) or 'their order'}"
    raise StudyError(
        f"both domains must have the same classes for data.target, got {got}; name another target, or give both the "
        "same classes"
    )


def _join_images(source: Pixels | StreamedImages, target: Pixels | StreamedImages) -> Pixels | StreamedImages:
    shapes = (source.shape[1:], target.shape[1:])
    if source.dtype != target.dtype or (source.dtype != np.uint8 and shapes[0] != shapes[1]):
        raise StudyError(
            f"both domains must hold images, or vectors of one length, for data.target, got {shapes[1]} {target.dtype} "
            f"for {shapes[0]} {source.dtype}"
        )
    if isinstance(source, StreamedImages) or isinstance(target, StreamedImages):
        return JoinedImages(source, target)
    return np.concatenate([source, in_shape(target, shapes[0])])


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
