"""The range of pixel values: which value becomes white, and arrays of images in 8 bits. Shapes: N images, C channels,
H by W pixels.

A type of pixels has a full range: up to 255 for 8 bits, 65535 for 16 bits, and for other types the smallest of 1 (for
floats), 255 and 65535 (for whole numbers) that no pixel exceeds. The full range becomes black to white, unless all
pixels of the data set are below an eighth of it: then the smallest range of whole bits that none exceeds or, for
floats, the range up to the largest pixel. One range holds for all images, so that they stay comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from supercm_ray.data.reasons import counted
from supercm_ray.errors import StudyError

_LOW = 8
"""Pixels below this fraction of the full range are stretched."""
_LEAST_CONTRAST = 8
"""Difference between the largest and smallest pixel of an image, of 255, below which little can be seen."""
_CHUNK = 4096
"""Samples that are looked at together."""


def full_range(dtype: np.dtype[np.generic], largest: float) -> float:
    """Returns the largest pixel that this type stands for, given the largest there is."""
    if dtype.itemsize == 1 and dtype.kind == "u":
        return 255.0
    if dtype.kind == "b":
        return 1.0
    if dtype == np.uint16:
        return 65535.0
    known = (1.0, 255.0) if dtype.kind == "f" else (255.0, 65535.0)
    return next((full for full in known if largest <= full), _own_range(dtype, largest))


def find_max_pixel(dtype: np.dtype[np.generic], largest: float) -> float:
    """Returns the pixel value that becomes white in a data set whose largest pixel is this."""
    full = full_range(dtype, largest)
    return full if largest * _LOW >= full or largest == 0 else _own_range(dtype, largest)


def _own_range(dtype: np.dtype[np.generic], largest: float) -> float:
    return float(largest) if dtype.kind == "f" else 2.0 ** int(largest).bit_length() - 1


def range_notes(
    name: str, dtype: np.dtype[np.generic], max_pixel: float, largest: Mapping[str, float]
) -> tuple[str, ...]:
    """Returns notes about the range of pixels of a data set unless it is that of whole numbers of this type, and about
    images that exceed it.
    """
    above = [place for place, value in largest.items() if value > max_pixel]
    is_usual = dtype.kind != "f" and max_pixel == full_range(dtype, max(largest.values()))
    stated = f"pixels of {name} from 0 to {max_pixel:.6g} become black to white; data.options.max_pixel sets another"
    return *(() if is_usual else (stated,)), *counted(above, "{} images have pixels above that, which become white")


def has_contrast(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Returns for each image (N, C, H, W) whether the pixels of a channel differ enough to show something."""
    flat = images.reshape(*images.shape[:2], -1)
    spread = flat.max(axis=2).astype(np.int16) - flat.min(axis=2)
    found: npt.NDArray[np.bool_] = spread.max(axis=1) >= _LEAST_CONTRAST
    return found


def to_bytes(
    images: npt.NDArray[np.generic], max_pixel_for: Callable[[np.dtype[np.generic], float], float | None], place: str
) -> tuple[npt.NDArray[np.uint8], float, tuple[str, ...]]:
    """Converts images of numbers to 8 bits, and returns them with the value that became white, and notes. Pixels of 8
    bits that use their range are returned as they are.

    Args:
        images: the images.
        max_pixel_for: gives the value that is to become white for the type of pixels and the largest of them, or None.
        place: where the images stand, for messages.

    Raises:
        StudyError: for pixels that are negative or no numbers.
    """
    largest = _largest(images, place)
    given = max_pixel_for(images.dtype, float(largest.max()))
    white = find_max_pixel(images.dtype, largest.max()) if given is None else given
    is_bytes = images.dtype == np.uint8
    white = min(white, 255.0) if is_bytes else white
    notes: tuple[str, ...] = ()
    if not is_bytes or white < 255:
        notes = range_notes(
            place, images.dtype, float(white), {f"sample {i}": value for i, value in enumerate(largest.tolist())}
        )
        found = np.empty(images.shape, dtype=np.uint8)
        for i in range(0, len(images), _CHUNK):
            scaled = images[i : i + _CHUNK].astype(np.float64) * (255.0 / white)
            found[i : i + _CHUNK] = scaled.round().clip(0, 255)
    else:
        found = images.astype(np.uint8, copy=False)
    parts = (found[i : i + _CHUNK] for i in range(0, len(found), _CHUNK))
    flat = np.flatnonzero(~np.concatenate([has_contrast(part) for part in parts]))
    return found, white, notes + counted([f"sample {i} of {place}" for i in flat], "{} images have next to no contrast")


def _largest(images: npt.NDArray[np.generic], place: str) -> npt.NDArray[np.float64]:
    """Returns (N,) the largest pixel of each image."""
    if images.dtype == np.uint8:
        return np.asarray(images.max(axis=(1, 2, 3)), dtype=np.float64)
    found = []
    for i in range(0, len(images), _CHUNK):
        part = images[i : i + _CHUNK].astype(np.float64)
        broken = np.flatnonzero(~np.isfinite(part).all(axis=(1, 2, 3)) | (part.min(axis=(1, 2, 3)) < 0))
        if len(broken):
            worst = part[broken[0]].min()
            raise StudyError(
                f"pixels must be numbers from 0 on, such as 0 to 1 or 0 to 255, for {place}, got {worst} in sample "
                f"{broken[0] + i}; save the images before they are standardised, and leave out such samples"
            )
        found.append(part.max(axis=(1, 2, 3)))
    return np.concatenate(found)
