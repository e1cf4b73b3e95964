"""Images that are decoded when they are requested, and the decoding itself. Shapes: N samples, C channels, H by W
pixels.
"""

from __future__ import annotations

import logging
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from pydantic import Field
from torch.nn import functional

from supercm_ray.config import OptionsModel
from supercm_ray.data.reasons import reason
from supercm_ray.errors import StudyError

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64] | slice
Source = Path | BinaryIO
"""A file with an encoded image: its path or an open stream."""
T = TypeVar("T")

_UNREADABLE = (
    *(UnidentifiedImageError, Image.DecompressionBombError, OSError, EOFError, ValueError, SyntaxError, TypeError),
    *(LookupError, ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error),
)
"""Exceptions that Pillow raises for damaged images."""


class DecodingOptions(OptionsModel):
    """Options of data sets that hold encoded images."""

    inherited: ClassVar[frozenset[str]] = frozenset({"image_size", "skip_corrupt"})

    image_size: int | None = Field(None, ge=1)
    """Side in pixels, from 1, to which images are scaled and cropped. None: their own size."""
    skip_corrupt: bool = False
    """Whether to leave out images that cannot be decoded, with a warning that counts them, instead of ending with an
    error."""
    stream_threads: int = Field(4, ge=1)
    """Number of threads that decode images, at the start and while they are streamed; from 1."""


class StreamedImages(ABC):
    """An array (N, C, H, W) in uint8 that is not in memory: samples are decoded when they are taken from it."""

    dtype = np.dtype(np.uint8)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""

    @property
    @abstractmethod
    def num_threads(self) -> int:
        """Number of threads that decode ahead of time."""

    def __getitem__(self, indices: Rows) -> Array:
        """Returns the images of these samples."""
        numbers = np.arange(self.shape[0])[indices]
        found = np.empty((len(numbers), *self.shape[1:]), dtype=np.uint8)
        self.read(numbers, found)
        return found

    @abstractmethod
    def read(self, indices: npt.NDArray[np.int64], into: Array) -> None:
        """Writes the images of these samples into an array of the same length."""


@dataclass(frozen=True)
class ImageFiles(StreamedImages):
    """Images in files, all scaled to one side."""

    files: tuple[Path, ...]
    channels: int
    side: int
    threads: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return len(self.files), self.channels, self.side, self.side

    @property
    def num_threads(self) -> int:
        """Number of threads that decode ahead of time."""
        return self.threads

    def read(self, indices: npt.NDArray[np.int64], into: Array) -> None:
        """Decodes images; grey images are repeated to the number of channels of the others."""
        for place, sample in enumerate(indices):
            try:
                into[place] = decode(self.files[sample], self.side)
            except _UNREADABLE as error:
                raise StudyError(
                    f"every image must stay readable while a study runs, got {self.files[sample]}: {reason(error)}; "
                    "put it back"
                ) from error


@dataclass(frozen=True)
class JoinedImages(StreamedImages):
    """Images of two domains, source samples first, the target's in the source's shape."""

    source: Pixels | StreamedImages
    target: Pixels | StreamedImages

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return self.source.shape[0] + self.target.shape[0], *self.source.shape[1:]

    @property
    def num_threads(self) -> int:
        """Number of threads that decode ahead of time."""
        return max(part.num_threads for part in (self.source, self.target) if isinstance(part, StreamedImages))

    def read(self, indices: npt.NDArray[np.int64], into: Array) -> None:
        """Reads each sample from its domain."""
        first = self.source.shape[0]
        of_source = indices < first
        into[of_source] = self.source[indices[of_source]]
        into[~of_source] = in_shape(self.target[indices[~of_source] - first], self.source.shape[1:])


@dataclass(frozen=True)
class MaskedImages(StreamedImages):
    """Images of which some samples are blank."""

    images: StreamedImages
    blank: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return self.images.shape

    @property
    def num_threads(self) -> int:
        """Number of threads that decode ahead of time."""
        return self.images.num_threads

    def read(self, indices: npt.NDArray[np.int64], into: Array) -> None:
        """Reads the samples that are not blank."""
        is_open = ~np.isin(indices, self.blank)
        into[:] = 0
        into[is_open] = self.images[indices[is_open]]


def decode(source: Source, side: int | None) -> Array:
    """Decodes an image to (C, H, W), with C = 1 for grey. With a `side`, scales it so that the shorter side fits and
    crops the middle.
    """
    with Image.open(source) as opened:
        if opened.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
            image = Image.fromarray(
                (np.asarray(opened, dtype=np.float64) / 257.0).round().clip(0, 255).astype(np.uint8)
            )
        else:
            image = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
    pixels = np.asarray(image if side is None else _to_side(image, side), dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _to_side(image: Image.Image, side: int) -> Image.Image:
    from torchvision.transforms import InterpolationMode  # seconds of import, which only such images need
    from torchvision.transforms.v2 import functional as transforms

    scaled = transforms.resize(image, [side], interpolation=InterpolationMode.BICUBIC)
    cropped: Image.Image = transforms.center_crop(scaled, [side, side])
    return cropped


def decode_all(
    sources: Sequence[tuple[Source, str]], name: str, options: DecodingOptions, keep: Callable[[Array], T]
) -> tuple[list[T], npt.NDArray[np.int64]]:
    """Decodes images in threads, and returns what `keep` makes of each that can be decoded, with the indices of these.

    Args:
        sources: files or streams, each with its name in messages.
        name: the name of the data set, for messages.
        options: the side of the images, and whether to leave out what cannot be decoded.
        keep: a function of a decoded image, called in threads.

    Raises:
        StudyError: for an image that cannot be decoded and is not to be left out, and if none can be decoded.
    """

    def attempt(source: tuple[Source, str]) -> T | Exception:
        try:
            return keep(decode(source[0], options.image_size))
        except _UNREADABLE as error:
            return error

    made: list[T] = []
    kept: list[int] = []
    skipped: list[str] = []
    with ThreadPoolExecutor(options.stream_threads) as pool:
        for i, ((_, place), found) in enumerate(zip(sources, pool.map(attempt, sources), strict=True)):
            if not isinstance(found, Exception):
                made.append(found)
                kept.append(i)
            elif options.skip_corrupt:
                skipped.append(place)
            else:
                pool.shutdown(wait=False, cancel_futures=True)
                raise StudyError(
                    f"every image must be readable for {name}, got {place}: {reason(found)}; mend it, or "
                    "set data.options.skip_corrupt=true to leave such images out"
                ) from found
    if skipped:
        logger.warning("left out %d images that cannot be decoded, the first is %s", len(skipped), skipped[0])
    if not made:
        raise StudyError(f"at least one image must be readable for {name}, got {len(skipped)} that are not")
    return made, np.array(kept, dtype=np.int64)


def in_shape(images: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Scales images to this (C, H, W) and converts them to its number of channels."""
    if images.shape[1:] == shape:
        return images
    channels, height, width = shape
    grey = images.mean(axis=1, keepdims=True) if channels < images.shape[1] else images
    scaled = functional.interpolate(torch.from_numpy(grey).float(), (height, width), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1).numpy()
