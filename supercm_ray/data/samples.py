"""Inputs of samples from arrays and encoded images. Shapes: N samples, C channels, H by W pixels, D features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supercm_ray.data.array_files import Member
from supercm_ray.data.decoding import DecodedImages, DecodingOptions, Source, decode_all
from supercm_ray.data.images import Array, ImageFiles, Pixels
from supercm_ray.data.pixels import to_bytes
from supercm_ray.data.vectors import to_vectors
from supercm_ray.errors import StudyError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """Inputs of the samples of one file.

    Attributes:
        values: (N, C, H, W).
        num_samples: number of samples in the file, those that were left out included.
        indices: (N,) the positions in the file of those that were not left out.
        key: the name of the array or column, for messages.
        names: N names of samples, or none.
        columns: names of the columns of numbers of a table, in the order of the values; or none.
        decoding: the options that the data decided.
        notes: sentences about what was left out or is odd.
    """

    values: Pixels
    num_samples: int
    indices: Indices
    key: str
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    decoding: Mapping[str, float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def from_array(inputs: Member, key: str, file: str, options: DecodingOptions, *, l2_normalise: bool) -> Inputs:
    """Converts an array in one of the layouts in use.

    Args:
        inputs: images or vectors.
        key: the name of the array or columns, for messages.
        file: the name of the file, for messages.
        options: the range of pixels.
        l2_normalise: whether to divide each vector by its length.

    Raises:
        StudyError: for another layout, and for values that cannot be used.
    """
    place = f"{key} in {file}"
    is_number = inputs.dtype.kind in "iufb"
    if not is_number or inputs.ndim not in (2, 3, 4) or 0 in inputs.shape:
        raise StudyError(
            "inputs must be vectors (N, D) or images (N, H, W), (N, H, W, C) or (N, C, H, W) of numbers for "
            f"{place}, got {inputs.dtype} {inputs.shape}; save them as one of these"
        )
    indices = np.arange(len(inputs))
    if inputs.ndim == 2:
        vectors, notes = to_vectors(inputs, place, l2_normalise=l2_normalise)
        return Inputs(vectors, len(inputs), indices, key, notes=notes)
    images = inputs[:, None] if inputs.ndim == 3 else _channels_first(inputs, place)
    pixels, white, notes = to_bytes(images, options.max_pixel, place)
    return Inputs(pixels, len(inputs), indices, key, decoding={"max_pixel": white}, notes=notes)


def _channels_first(images: Member, place: str) -> Member:
    """Converts (N, C, H, W) or (N, H, W, C) to (N, C, H, W); the axis with 1 or 3 channels tells which it is."""
    second, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if second == last and images.shape[1:] != (1, 1, 1):
        readings = "both could be" if second else "none is"
        raise StudyError(
            f"images must have 1 or 3 channels on either the second or the last axis for {place}, got {images.shape}, "
            f"where {readings}; save grey images as (N, H, W), and others with 3 channels"
        )
    return images if second else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def from_encoded(
    sources: Sequence[tuple[Source, str]], name: str, options: DecodingOptions, key: str, *, are_names: bool = False
) -> Inputs:
    """Decodes images to the inputs of samples; `are_names` says that the names of sources are those of samples.

    Raises:
        StudyError: for no images, and for those that cannot be decoded or have several sizes.
    """
    if not sources:
        raise StudyError(f"at least one image must be there for {key} of {name}, got none; add some")
    images, found = stack_images(sources, name, options)
    names = tuple(sources[i][1] for i in found.indices) if are_names else ()
    return Inputs(images, len(sources), found.indices, key, names, decoding=found.decoding, notes=found.notes)


def stack_images(
    sources: Sequence[tuple[Source, str]], name: str, options: DecodingOptions
) -> tuple[Array, DecodedImages[Array]]:
    """Decodes images to one array (N, C, H, W), grey ones with the channels of the others.

    Raises:
        StudyError: for images that cannot be decoded, and for images of several sizes.
    """
    found = decode_all(sources, name, options, keep=lambda image: image)
    channels = max(len(image) for image in found.kept)
    images = [np.repeat(image, channels, axis=0) if len(image) < channels else image for image in found.kept]
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise StudyError(
            f"all images must have one size for {name}, got {len(shapes)} sizes; set data.options.image_size"
        )
    return np.stack(images), found


def stream_images(
    files: Sequence[tuple[Path, str]], name: str, options: DecodingOptions
) -> tuple[ImageFiles, DecodedImages[int]]:
    """Decodes each image once as a check, and returns the images, which stay in their files; `image_size` is given.

    Raises:
        StudyError: for images that cannot be decoded.
    """
    assert options.image_size is not None
    found = decode_all(list(files), name, options, keep=len)
    kept = tuple(files[i][0] for i in found.indices)
    return ImageFiles(kept, max(found.kept), options.image_size, options.stream_threads, found.rendering), found


def cut_images(inputs: Member, offsets: Member, key: str, offsets_key: str, file: str) -> list[tuple[BytesIO, str]]:
    """Cuts concatenated images where the offsets say, and returns the bytes of each and its name in messages.

    Raises:
        StudyError: for offsets that cannot be positions in the bytes.
    """
    inputs, offsets = inputs.ravel(), offsets.ravel()
    if len(offsets) < 2 or offsets.dtype.kind not in "iuf" or (offsets != np.floor(offsets)).any():
        raise StudyError(
            f"`{offsets_key}` must be two or more whole numbers in {file}, got {len(offsets)} of {offsets.dtype}; save "
            "where each image begins, and where the last one ends"
        )
    if inputs.dtype.itemsize != 1:
        raise StudyError(
            f"inputs must be the bytes of encoded images for {key} in {file}, got {inputs.dtype}; save them in uint8, "
            f"or leave out data.options.offsets_key={offsets_key}"
        )
    if offsets[0] < 0 or (np.diff(offsets.astype(np.float64)) < 0).any() or offsets[-1] > len(inputs):
        raise StudyError(
            f"`{offsets_key}` must rise from 0 to at most the {len(inputs)} bytes of {key} in {file}, got places from "
            f"{offsets.min()} to {offsets.max()}; save both anew"
        )
    places = pairwise(offsets.astype(np.int64).tolist())
    return [(BytesIO(inputs[a:b].tobytes()), f"sample {i} of {file}") for i, (a, b) in enumerate(places)]
