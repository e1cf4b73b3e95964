"""Data sets of one's own: arrays in npz or mat files, folders of images. Shapes: N rows, C channels, H by W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supercm_ray.config import ArraysConfig, PlaceConfig
from supercm_ray.data.dataset import DATASETS, Dataset, channel_statistics
from supercm_ray.data.folders import data_root
from supercm_ray.data.images import Array, ImageFiles, Pixels, StreamedImages, decode_all
from supercm_ray.errors import StudyError

Labels = npt.NDArray[np.int64]


def _load_arrays(data: PlaceConfig) -> Dataset:
    if data.arrays is None:
        raise StudyError("`data.arrays` must say which files `arrays` reads, got nothing; give at least train_file")
    train, train_labels = _read_part(data, data.arrays, data.arrays.train_file)
    if data.arrays.test_file is None:
        return _dataset(data, train, train_labels, num_train=None)
    test, test_labels = _read_part(data, data.arrays, data.arrays.test_file)
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise StudyError(
            f"`data.arrays` must give inputs of one shape and type, got {train.shape[1:]} {train.dtype} in "
            f"{data.arrays.train_file} and {test.shape[1:]} {test.dtype} in {data.arrays.test_file}"
        )
    return _dataset(
        data, np.concatenate([train, test]), np.concatenate([train_labels, test_labels]), num_train=len(train)
    )


def _load_image_folder(data: PlaceConfig) -> Dataset:
    root = data_root(data)
    if data.image_size is None:
        raise StudyError("`data.image_size` must be given for image_folder, got nothing; all images get this side")
    if not root.is_dir():
        raise StudyError(f"`data.root` must be a folder, got {str(root)!r}; image_folder cannot be fetched")
    classes = _in_order([path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")])
    files = [(path, k) for k, name in enumerate(classes) for path in sorted((root / name).iterdir()) if path.is_file()]
    if len(classes) < 2 or not files:
        raise StudyError(
            f"`data.root` must hold a folder of images for each class, got {len(classes)} folders in {root}"
        )
    take = _streamed if _is_streamed(data, len(files)) else _stacked
    images, kept = take([(path, str(path)) for path, _ in files], data)
    labels = np.array([k for _, k in files], dtype=np.int64)[kept]
    empty = np.setdiff1d(np.arange(len(classes)), labels)
    if len(empty):
        raise StudyError(
            f"every class must have an image for data.root, got none in {root / classes[empty[0]]}; add some"
        )
    return _dataset(data, images, labels, num_train=None, class_names=tuple(classes))


def _in_order(names: list[str]) -> list[str]:
    """Names of classes in the order of their labels: mere numbers by number, others by the alphabet."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


DATASETS["arrays"] = _load_arrays
DATASETS["image_folder"] = _load_image_folder


def _dataset(
    data: PlaceConfig,
    inputs: Pixels | StreamedImages,
    labels: Labels,
    *,
    num_train: int | None,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    num_classes = int(labels.max()) + 1
    if num_classes < 2:
        raise StudyError(f"at least two classes must be told apart in {data.name}, got {num_classes}")
    missing = np.setdiff1d(np.arange(num_classes), labels)
    if labels.min() < 0 or len(missing):
        got = f"no row of class {missing[0]}" if len(missing) else f"the label {labels.min()}"
        raise StudyError(
            f"labels of {data.name} must count the classes from 0 to {num_classes - 1}, got {got}; see "
            "data.arrays.first_label"
        )
    pixels = inputs.dtype == np.uint8
    # without test rows of its own, what standardises must not come from rows that are yet to become the test split
    statistics = channel_statistics(inputs[:num_train]) if pixels and num_train else None  # type: ignore[arg-type]
    mean, std = statistics or ((0.5,) * inputs.shape[1], (0.5,) * inputs.shape[1]) if pixels else ((0.0,), (1.0,))
    return Dataset(
        name=data.name,
        images=inputs,
        labels=labels,
        class_names=class_names or tuple(str(k) for k in range(num_classes)),
        has_class_names=bool(class_names),
        mean=mean,
        std=std,
        test_rows=None if num_train is None else np.arange(num_train, inputs.shape[0]),
    )


def _read_part(data: PlaceConfig, arrays: ArraysConfig, file: str) -> tuple[Pixels, Labels]:
    found = _read_file(data_root(data) / file)
    labels = _member(found, arrays.label_key, file).ravel()
    if not len(labels) or labels.dtype.kind not in "iufb":
        raise StudyError(
            f"labels must be numbers for {arrays.label_key} in {file}, got {len(labels)} of {labels.dtype}"
        )
    if not np.all(labels == labels.astype(np.int64)):
        raise StudyError(f"labels must be whole numbers for {arrays.label_key} in {file}, got {labels.dtype}")
    inputs = _member(found, arrays.input_key, file)
    kept = np.arange(len(labels))
    if arrays.offsets_key is not None:
        offsets = _member(found, arrays.offsets_key, file).ravel().astype(np.int64)
        parts = pairwise(offsets)
        inputs = inputs.ravel()
        encoded = [(BytesIO(inputs[a:b].tobytes()), f"row {i} of {file}") for i, (a, b) in enumerate(parts)]
        inputs, kept = _stacked(encoded, data)
        if len(offsets) != len(labels) + 1:
            raise StudyError(
                f"`{arrays.offsets_key}` must have one place more than there are labels in {file}, got {len(offsets)} "
                f"for {len(labels)}"
            )
    if len(inputs) != len(kept):
        raise StudyError(f"as many labels as inputs must stand in {file}, got {len(labels)} and {len(inputs)}")
    return _as_images(inputs, arrays, file), labels.astype(np.int64)[kept] - arrays.first_label


def _read_file(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".mat":
            from scipy.io import loadmat  # needed for such files alone

            return dict(loadmat(str(path)))
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # damaged archives let out errors of zipfile, zlib, numpy and scipy alike
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StudyError(f"`data.arrays` must name npz or mat files, got {str(path)!r}: {reason}") from error


def _member(found: dict[str, Any], key: str, file: str) -> npt.NDArray[Any]:
    if key not in found:
        known = ", ".join(f"`{name}`" for name in sorted(found) if not name.startswith("__"))
        raise StudyError(f"the array `{key}` must stand in {file}, got {known}; set data.arrays to one of these")
    return np.asarray(found[key])


def _as_images(inputs: npt.NDArray[Any], arrays: ArraysConfig, file: str) -> Pixels:
    """(N, C, H, W) from the layouts that are in use."""
    if inputs.ndim == 2:
        return _as_vectors(inputs, arrays, file)
    if inputs.dtype != np.uint8 or inputs.ndim not in (3, 4):
        raise StudyError(
            f"inputs must be vectors (N, D) or uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W) for "
            f"{arrays.input_key} in {file}, got {inputs.dtype} {inputs.shape}"
        )
    if inputs.ndim == 3:
        return inputs[:, None]
    return inputs if inputs.shape[1] in (1, 3) else np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


def _as_vectors(inputs: npt.NDArray[Any], arrays: ArraysConfig, file: str) -> npt.NDArray[np.float32]:
    vectors = inputs.astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise StudyError(
            f"every value must be a number for {arrays.input_key} in {file}, got none in {len(broken)} rows, the first "
            f"of which is {broken[0]}; mend or leave out these rows"
        )
    if arrays.l2_normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors[:, :, None, None]


def _stacked(sources: Sequence[tuple[Any, str]], data: PlaceConfig) -> tuple[Array, Labels]:
    """Images (N, C, H, W) and the numbers of those that could be decoded."""
    images, kept = decode_all(sources, data, keep=lambda image: image)
    channels = max(len(image) for image in images)
    images = [np.repeat(image, channels, axis=0) if len(image) < channels else image for image in images]
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise StudyError(f"all images must have one size for {data.name}, got {len(shapes)} sizes; set data.image_size")
    return np.stack(images), kept


def _streamed(files: Sequence[tuple[Path, str]], data: PlaceConfig) -> tuple[ImageFiles, Labels]:
    """Images that stay in their files, each decoded once to see that it can be, and the numbers of those that can."""
    assert data.image_size is not None
    channels, kept = decode_all(files, data, keep=len)
    return ImageFiles(tuple(files[i][0] for i in kept), max(channels), data.image_size, data.stream_threads), kept


def _is_streamed(data: PlaceConfig, num_images: int) -> bool:
    assert data.image_size is not None
    size_gib = num_images * 3 * data.image_size**2 / 2**30
    return data.stream == "on" or (data.stream == "auto" and size_gib > data.memory_gib)
