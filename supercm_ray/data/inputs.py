"""The inputs of a trained model: files and folders, read as a data source reads its own, without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from supercm_ray.config import PlaceConfig
from supercm_ray.data.arrays import ArraysOptions, _as_images, _member, _read_file, _stacked, _streamed
from supercm_ray.data.dataset import HIDDEN_LABEL, Dataset
from supercm_ray.data.images import DecodingOptions, Pixels, StreamedImages
from supercm_ray.errors import StudyError

_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
_ARRAYS = {".npz", ".mat"}


def read_inputs(
    data: PlaceConfig,
    paths: Sequence[Path],
    *,
    shape: tuple[int, int, int] | None = None,
    decoding: Mapping[str, float | str] | None = None,
) -> Dataset:
    """Reads images in files and folders, or files with arrays, as this data source does; `shape` is the model's (C, H,
    W), and `decoding` that of the data set that it was trained on.

    Raises:
        StudyError: for paths that are missing, of different kinds, or hold nothing that can be read.
    """
    files = [found for path in paths for found in _files(path)]
    if all(path.suffix in _ARRAYS for path in files):
        keys = data.options if isinstance(data.options, ArraysOptions) else ArraysOptions(train_file="")
        members = [(_member(_read_file(path), keys.input_key, str(path)), str(path)) for path in files]
        arrays: Pixels = np.concatenate([_as_images(member, keys, path) for member, path in members])
        return _unlabeled(data, arrays, ())
    if not all(path.suffix.lower() in _IMAGES for path in files):
        raise StudyError(f"inputs must be images or files of arrays for {data.name}, got {files[0]}; name such files")
    given = data.options if isinstance(data.options, DecodingOptions) else DecodingOptions()
    side = given.image_size or (shape[1] if shape and shape[1] == shape[2] else None)
    options = given.model_copy(update={"image_size": side})
    images, kept = (_streamed if side else _stacked)([(path, str(path)) for path in files], data.name, options)
    return _unlabeled(data, images, tuple(str(files[i]) for i in kept))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in _IMAGES]
        if not found:
            raise StudyError(f"a folder of inputs must hold images, got none in {path}; name another")
        return found
    if not path.is_file():
        raise StudyError(f"an input must be a file or a folder, got {str(path)!r}, which does not exist; correct it")
    return [path]


def _unlabeled(data: PlaceConfig, images: Pixels | StreamedImages, names: tuple[str, ...]) -> Dataset:
    dataset = Dataset(
        name=data.name,
        images=images,
        labels=np.full(images.shape[0], HIDDEN_LABEL, dtype=np.int64),
        class_names=(),
        mean=(0.5,) * images.shape[1],
        std=(0.5,) * images.shape[1],
    )
    object.__setattr__(dataset, "sample_names", names)  # until the data set has this attribute
    return dataset
