"""The user's own data sets: arrays in npz or mat files, and folders of images. Shapes: N samples, C channels, H by W
pixels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from supercm_ray.config import PlaceConfig
from supercm_ray.data.dataset import DATASETS, Dataset, channel_statistics
from supercm_ray.data.folders import data_root
from supercm_ray.data.images import Array, DecodingOptions, ImageFiles, Pixels, Source, StreamedImages, decode_all
from supercm_ray.data.reasons import reason
from supercm_ray.errors import StudyError

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.int64]
Member = npt.NDArray[np.generic]

_LARGEST_WHOLE = 2**53
"""The largest number up to which fp32 represents every whole number."""


class ArraysOptions(DecodingOptions):
    """Options of `arrays`: names of npz or mat files (up to version 7) and of the arrays in them. Options of decoding
    apply to encoded images.
    """

    train_file: str
    """Path of the file with the samples to split, relative to `root`."""
    test_file: str | None = None
    """Path of the file with the test samples, relative to `root`. None: they are taken from `train_file` by
    `test_fraction`."""
    input_key: str = "images"
    """Name of the array of inputs: images (N, H, W), (N, H, W, C) or (N, C, H, W) in uint8 with 1 or 3 channels,
    vectors (N, D), or, with `offsets_key`, the concatenated bytes of encoded images."""
    offsets_key: str | None = None
    """Name of the array of the N + 1 byte positions at which encoded images begin and the last one ends."""
    label_key: str = "labels"
    """Name of the array of labels, N whole numbers."""
    first_label: int = 0
    """Label of the first class in the file, such as 0 or 1."""
    l2_normalise: bool = False
    """Whether to divide each vector by its Euclidean length."""


class ImageFolderOptions(DecodingOptions):
    """Options of `image_folder`."""

    stream: Literal["auto", "on", "off"] = "auto"
    """Whether images are decoded batch by batch. `off` keeps all images decoded in memory; `on` decodes those of the
    next batches in threads, with the same result; `auto` streams if they would take more than `memory_gib` in memory.
    Every node of a cluster must be able to read streamed files."""
    memory_gib: float = Field(4.0, gt=0)
    """Memory in GiB, above 0, that decoded images may take (three bytes a pixel) before `stream: auto` streams them."""


@DATASETS.register("arrays", options=ArraysOptions)
def _load_arrays(data: PlaceConfig, options: ArraysOptions) -> Dataset:
    train, train_labels = _read_part(data, options, options.train_file)
    if options.test_file is None:
        return _dataset(data.name, train, train_labels, num_train=None, first_label=options.first_label)
    test, test_labels = _read_part(data, options, options.test_file)
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise StudyError(
            f"`data.options` must give inputs of one shape and type, got {train.shape[1:]} {train.dtype} in "
            f"{options.train_file} and {test.shape[1:]} {test.dtype} in {options.test_file}"
        )
    inputs, labels = np.concatenate([train, test]), np.concatenate([train_labels, test_labels])
    return _dataset(data.name, inputs, labels, num_train=len(train), first_label=options.first_label)


@DATASETS.register("image_folder", options=ImageFolderOptions)
def _load_image_folder(data: PlaceConfig, options: ImageFolderOptions) -> Dataset:
    root = data_root(data)
    if options.image_size is None:
        raise StudyError(
            "`data.options.image_size` must be given for image_folder, got nothing; all images get this side"
        )
    if not root.is_dir():
        raise StudyError(f"`data.root` must be a folder, got {str(root)!r}; image_folder cannot be fetched")
    classes = _in_order([path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")])
    files = [(path, k) for k, name in enumerate(classes) for path in sorted((root / name).iterdir()) if path.is_file()]
    _warn_of_what_is_left_out(root, classes)
    if len(classes) < 2 or not files:
        raise StudyError(
            f"`data.root` must hold a folder of images for each class, got {len(classes)} folders in {root}"
        )
    take = _streamed if _is_streamed(options, len(files)) else _stacked
    images, kept = take([(path, str(path)) for path, _ in files], data.name, options)
    labels = np.array([k for _, k in files], dtype=np.int64)[kept]
    empty = np.setdiff1d(np.arange(len(classes)), labels)
    if len(empty):
        raise StudyError(
            f"every class must have an image for data.root, got none in {root / classes[empty[0]]}; add some"
        )
    return _dataset(data.name, images, labels, num_train=None, class_names=tuple(classes))


def _in_order(names: list[str]) -> list[str]:
    """Sorts names of classes into the order of their labels: numbers by value, other names alphabetically."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _warn_of_what_is_left_out(root: Path, classes: Sequence[str]) -> None:
    """Warns of links that lead nowhere, and of files in folders within those of the classes."""
    within = [path for name in classes for path in sorted((root / name).iterdir())]
    broken = [path for path in (*sorted(root.iterdir()), *within) if path.is_symlink() and not path.exists()]
    folders = [path for path in within if path.is_dir() and not path.name.startswith(".")]
    deeper = [Path(place) / name for folder in folders for place, _, names in os.walk(folder) for name in names]
    for what, paths in (("links that lead nowhere", broken), ("files in folders within those of classes", deeper)):
        if paths:
            logger.warning("left out %d %s, the first is %s", len(paths), what, paths[0])


def _dataset(
    name: str,
    inputs: Pixels | StreamedImages,
    labels: Labels,
    *,
    num_train: int | None,
    class_names: tuple[str, ...] = (),
    first_label: int = 0,
) -> Dataset:
    num_classes = _num_classes(name, labels, first_label)
    pixels = inputs.dtype == np.uint8
    # without test samples of its own, what standardises must not come from what is yet to become the test split
    statistics = channel_statistics(inputs[:num_train]) if pixels and num_train else None  # type: ignore[arg-type]
    mean, std = statistics or ((0.5,) * inputs.shape[1], (0.5,) * inputs.shape[1]) if pixels else ((0.0,), (1.0,))
    return Dataset(
        name=name,
        images=inputs,
        labels=labels,
        class_names=class_names or tuple(str(k) for k in range(num_classes)),
        has_class_names=bool(class_names),
        mean=mean,
        std=std,
        test_indices=None if num_train is None else np.arange(num_train, inputs.shape[0]),
    )


def _num_classes(name: str, labels: Labels, first: int) -> int:
    """Returns the number of classes, each of which must have a sample; `first` is the smallest label in the file."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(labels):
        raise StudyError(
            f"labels of {name} must be whole numbers from data.options.first_label={first} on, of no more classes "
            f"than samples, got the label {(low if low < 0 else high) + first} in {len(labels)} samples; mend it, or "
            f"set "
            "data.options.first_label"
        )
    missing = np.setdiff1d(np.arange(high + 1), labels)
    if len(missing):
        raise StudyError(
            f"labels of {name} must count the classes from {first} to {high + first}, got no sample of class "
            f"{missing[0] + first}; number the classes without a gap, or set data.options.first_label"
        )
    if high < 1:
        raise StudyError(f"at least two classes must be told apart in {name}, got {high + 1}; add samples of others")
    return high + 1


def _read_part(data: PlaceConfig, arrays: ArraysOptions, file: str) -> tuple[Pixels, Labels]:
    if abs(arrays.first_label) > _LARGEST_WHOLE:
        raise StudyError(
            f"`data.options.first_label` must be a label of {file} of at most 2^53, got {arrays.first_label}; set it "
            "to the label of the first class"
        )
    found = _read_file(data_root(data) / file)
    labels = _whole_numbers(found, "labels", arrays.label_key, file)
    inputs = _member(found, arrays.input_key, file)
    kept = np.arange(len(labels))
    if arrays.offsets_key is not None:
        offsets = _whole_numbers(found, "places", arrays.offsets_key, file)
        inputs, kept = _stacked(_encoded(inputs, offsets, len(labels), arrays, file), data.name, arrays)
    if inputs.ndim == 0 or len(inputs) != len(kept):
        got = f"{len(labels)} and " + (f"a single {inputs.dtype}" if inputs.ndim == 0 else str(len(inputs)))
        raise StudyError(
            f"as many labels as inputs must stand in {file}, got {got} for {arrays.label_key} and {arrays.input_key}; "
            "save one sample of an array for each label"
        )
    return _as_images(inputs, arrays, file), labels[kept] - arrays.first_label


def _whole_numbers(found: dict[str, object], what: str, key: str, file: str) -> Labels:
    values = _member(found, key, file).ravel()
    if not len(values) or values.dtype.kind not in "iufb":
        raise StudyError(
            f"{what} must be numbers for {key} in {file}, got {len(values)} of {values.dtype}; save whole numbers"
        )
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    broken = np.flatnonzero((whole != values) | (whole < -_LARGEST_WHOLE) | (whole > _LARGEST_WHOLE))
    if len(broken):
        raise StudyError(
            f"{what} must be whole numbers of at most 2^53 for {key} in {file}, got {values[broken[0]]}; save such "
            "numbers"
        )
    return whole


def _encoded(
    inputs: Member, offsets: Labels, num_labels: int, arrays: ArraysOptions, file: str
) -> list[tuple[BytesIO, str]]:
    """Returns the bytes of each image, and its name in messages."""
    inputs = inputs.ravel()
    key = arrays.offsets_key
    if len(offsets) != num_labels + 1:
        raise StudyError(
            f"`{key}` must have one place more than there are labels in {file}, got {len(offsets)} for {num_labels}; "
            "save where each image begins, and where the last one ends"
        )
    if inputs.dtype.itemsize != 1:
        raise StudyError(
            f"inputs must be the bytes of encoded images for {arrays.input_key} in {file}, got {inputs.dtype}; save "
            f"them in uint8, or leave out data.options.offsets_key={key}"
        )
    if offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > len(inputs):
        raise StudyError(
            f"`{key}` must rise from 0 to at most the {len(inputs)} bytes of {arrays.input_key} in {file}, got places "
            f"from {offsets.min()} to {offsets.max()}; save both anew"
        )
    return [(BytesIO(inputs[a:b].tobytes()), f"sample {i} of {file}") for i, (a, b) in enumerate(pairwise(offsets))]


def _read_file(path: Path) -> dict[str, object]:
    try:
        if path.suffix == ".mat":
            from scipy.io import loadmat  # needed for such files alone

            return dict(loadmat(str(path)))
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # damaged archives let out errors of zipfile, zlib, numpy and scipy alike
        raise StudyError(
            f"`data.options` must name npz or mat files, got {str(path)!r}: {reason(error)}; save it anew"
        ) from error


def _member(found: dict[str, object], key: str, file: str) -> Member:
    if key not in found:
        known = ", ".join(f"`{name}`" for name in sorted(found) if not name.startswith("__"))
        raise StudyError(f"the array `{key}` must stand in {file}, got {known}; set data.options to one of these")
    if hasattr(found[key], "toarray"):
        raise StudyError(f"arrays must be dense, got a sparse matrix for {key} in {file}; save it as a full array")
    return np.asarray(found[key])


def _as_images(inputs: Member, arrays: ArraysOptions, file: str) -> Pixels:
    """Converts the layouts in use to (N, C, H, W)."""
    is_vectors = inputs.ndim == 2 and inputs.dtype.kind in "iufb"
    is_images = inputs.ndim in (3, 4) and inputs.dtype == np.uint8
    if not (is_vectors or is_images) or 0 in inputs.shape:
        raise StudyError(
            f"inputs must be vectors (N, D) of numbers or uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W) for "
            f"{arrays.input_key} in {file}, got {inputs.dtype} {inputs.shape}; save them as one of these"
        )
    if is_vectors:
        return _as_vectors(inputs, arrays, file)
    images = inputs.astype(np.uint8, copy=False)
    return images[:, None] if images.ndim == 3 else _channels_first(images, arrays, file)


def _channels_first(images: Array, arrays: ArraysOptions, file: str) -> Array:
    """Converts (N, C, H, W) or (N, H, W, C) to (N, C, H, W); the axis with 1 or 3 channels tells which it is."""
    second, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if second == last and images.shape[1:] != (1, 1, 1):
        readings = "both could be" if second else "none is"
        raise StudyError(
            f"images must have 1 or 3 channels on either the second or the last axis for {arrays.input_key} in {file}, "
            f"got {images.shape}, where {readings}; save grey images as (N, H, W), and others with 3 channels"
        )
    return images if second else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _as_vectors(inputs: Member, arrays: ArraysOptions, file: str) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        vectors = inputs.astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise StudyError(
            f"every value must be a number for {arrays.input_key} in {file}, got none in {len(broken)} samples, the "
            f"first "
            f"of which is {broken[0]}; mend or leave out these samples"
        )
    if arrays.l2_normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors[:, :, None, None]


def _stacked(sources: Sequence[tuple[Source, str]], name: str, options: DecodingOptions) -> tuple[Array, Labels]:
    """Decodes images (N, C, H, W), and returns them with the indices of those that could be decoded."""
    images, kept = decode_all(sources, name, options, keep=lambda image: image)
    channels = max(len(image) for image in images)
    images = [np.repeat(image, channels, axis=0) if len(image) < channels else image for image in images]
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise StudyError(
            f"all images must have one size for {name}, got {len(shapes)} sizes; set data.options.image_size"
        )
    return np.stack(images), kept


def _streamed(files: Sequence[tuple[Path, str]], name: str, options: DecodingOptions) -> tuple[ImageFiles, Labels]:
    """Decodes each image once as a check, and returns the images, which stay in their files, with the indices of those
    that can be decoded.
    """
    assert options.image_size is not None
    channels, kept = decode_all(files, name, options, keep=len)
    return ImageFiles(tuple(files[i][0] for i in kept), max(channels), options.image_size, options.stream_threads), kept


def _is_streamed(options: ImageFolderOptions, num_images: int) -> bool:
    assert options.image_size is not None
    size_gib = num_images * 3 * options.image_size**2 / 2**30
    return options.stream == "on" or (options.stream == "auto" and size_gib > options.memory_gib)
