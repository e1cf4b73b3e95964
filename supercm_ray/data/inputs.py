"""Inputs without labels, to predict for: image files, folders of images, files of arrays, tables. Shapes: N samples, C
channels, H by W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np

from supercm_ray.config import PlaceConfig
from supercm_ray.data.array_files import is_array_file, open_arrays
from supercm_ray.data.array_inputs import ArraysOptions, read_inputs_of, with_columns
from supercm_ray.data.dataset import UNLABELED, Dataset
from supercm_ray.data.decoding import DecodingOptions, decode_alike
from supercm_ray.data.image_listing import is_image, list_images
from supercm_ray.data.images import JoinedImages, Pixels, StreamedImages, in_shape
from supercm_ray.data.reasons import listed
from supercm_ray.data.samples import stack_images, stream_images
from supercm_ray.errors import StudyError

IN_MEMORY = 2**30
"""Number of bytes, at three a pixel, that decoded images may take in memory; those of larger folders are decoded batch
by batch."""


def read_inputs(
    data: PlaceConfig,
    paths: Sequence[Path],
    *,
    shape: tuple[int, int, int] | None = None,
    decoding: Mapping[str, float | str] | None = None,
    columns: tuple[str, ...] = (),
) -> Dataset:
    """Reads files or folders the way that a data set takes them; labels in them are ignored.

    Args:
        data: the data set, whose options say how files are read.
        paths: image files, folders with images at any depth, files of arrays, tables.
        shape: the (C, H, W) that images are converted to, and that vectors must have.
        decoding: the `decoding` of the data set that was trained on, so that these images are decoded alike.
        columns: the `columns` of that data set, which are read from tables in this order.

    Raises:
        StudyError: for what cannot be read, and for inputs of other shapes.
    """
    if not paths:
        raise StudyError("at least one file or folder must be given as input, got nothing; name some")
    options = _decoding_options(data, shape, decoding or {})
    parts = list(_read_all(data, paths, options, shape, columns))
    kinds = {str((part.images.shape[1:], str(part.images.dtype))) for part in parts}
    if len(kinds) > 1:
        raise StudyError(
            f"all inputs must have one shape and type, got {', '.join(sorted(kinds))}; predict for them apart"
        )
    return replace(
        parts[0],
        images=_joined([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        sample_names=tuple(name for part in parts for name in part.sample_names),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _joined(parts: Sequence[Pixels | StreamedImages]) -> Pixels | StreamedImages:
    """Returns samples one after the other; those of a single part as they are."""
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part, StreamedImages) for part in parts):
        return reduce(JoinedImages, parts)
    return np.concatenate([np.asarray(part) for part in parts])


def _decoding_options(
    data: PlaceConfig, shape: tuple[int, int, int] | None, decoding: Mapping[str, float | str]
) -> DecodingOptions:
    """Returns the options of decoding of a data set; images get the side of `shape` if the options name none."""
    given = data.options.model_dump() if isinstance(data.options, DecodingOptions) else {}
    known = {name: given[name] for name in DecodingOptions.model_fields if name in given}
    if known.get("image_size") is None and shape is not None and shape[1] == shape[2]:
        known["image_size"] = shape[1]
    return decode_alike(DecodingOptions.model_validate(known), decoding)


def _read_all(
    data: PlaceConfig,
    paths: Sequence[Path],
    options: DecodingOptions,
    shape: tuple[int, int, int] | None,
    columns: tuple[str, ...],
) -> Iterator[Dataset]:
    images: list[tuple[Path, str]] = []
    notes: tuple[str, ...] = ()
    num_named = Counter(path.name for path in paths)
    for path in paths:
        if path.is_dir():
            found, more = list_images(path)
            if not found:
                raise StudyError(f"a folder of inputs must hold images, got none in {str(path)!r}; name another")
            images += [(file, file.relative_to(path).as_posix()) for file in found]
            notes += more
        elif path.is_file() and is_array_file(path):
            named = path.name if num_named[path.name] == 1 else str(path)
            yield _of_arrays(data, path, named, options, shape, columns)
        elif path.is_file() and is_image(path):
            images.append((path, path.name))
        else:
            kind = "such a file" if path.is_file() else "nothing there"
            raise StudyError(
                "inputs must be image files, folders of images, files of arrays or tables, got "
                f"{str(path)!r}, which is {kind if kind == 'nothing there' else 'none of these'}; name others"
            )
    if len({name for _, name in images}) < len(images):
        images = [(file, str(file)) for file, _ in images]
    if images:
        yield _of_images(data.name, images, notes, options, shape)


def _of_images(
    name: str,
    files: Sequence[tuple[Path, str]],
    notes: tuple[str, ...],
    options: DecodingOptions,
    shape: tuple[int, int, int] | None,
) -> Dataset:
    sources: list[tuple[Path, str]] = [(path, str(path)) for path, _ in files]
    side = options.image_size
    is_large = side is not None and len(files) * 3 * side**2 > IN_MEMORY
    images, found = (stream_images if is_large else stack_images)(sources, name, options)
    return _dataset(name, images, tuple(files[i][1] for i in found.indices), notes + found.notes, shape)


def _of_arrays(
    data: PlaceConfig,
    path: Path,
    named: str,
    options: DecodingOptions,
    shape: tuple[int, int, int] | None,
    columns: tuple[str, ...],
) -> Dataset:
    own = data.options if isinstance(data.options, ArraysOptions) else ArraysOptions(file=path.name)
    chosen = own.model_copy(update={"file": path.name, **options.model_dump()})
    with open_arrays(path) as opened:
        found = read_inputs_of(opened, path, data.name, with_columns(chosen, columns))
    names = found.names or tuple(f"{named}[{i}]" for i in found.indices)
    return _dataset(data.name, found.values, names, found.notes, shape)


def _dataset(
    name: str,
    images: Pixels | StreamedImages,
    names: tuple[str, ...],
    notes: tuple[str, ...],
    shape: tuple[int, int, int] | None,
) -> Dataset:
    if shape is not None and images.shape[1:] != shape:
        if images.dtype != np.uint8 or shape[1:] == (1, 1):
            raise StudyError(
                f"inputs must have the shape of the samples that the model was trained on, {shape}, got "
                f"{images.shape[1:]} for {listed(names[:1])}; give the same features in the same order"
            )
        images = images if isinstance(images, StreamedImages) else in_shape(images, shape)
    channels = images.shape[1] if images.dtype == np.uint8 else 1
    return Dataset(
        name=name,
        images=images,
        labels=np.full(len(names), UNLABELED, dtype=np.int64),
        class_names=(),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        sample_names=names,
        unlabeled_because="labels of inputs are not read",
        notes=notes,
    )
