"""Images that are decoded when they are requested. Shapes: N samples, C channels, H by W pixels."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from supercm_ray.data.decoding import UNREADABLE, Rendering, decode
from supercm_ray.data.reasons import reason
from supercm_ray.errors import StudyError

Array = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64] | slice
Digests = npt.NDArray[np.void]
_CHUNK = 1024
_DIGEST_SIZE = 16


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

    def digests(self) -> Digests:
        """Returns a digest (N,) of each image (see `digest`), for which images are read unless it is known."""
        parts = (self[begin : begin + _CHUNK] for begin in range(0, self.shape[0], _CHUNK))
        return join_digests(digest(image) for part in parts for image in part)


@dataclass(frozen=True)
class ImageFiles(StreamedImages):
    """Images in files, all scaled to one side and rendered alike.

    Attributes:
        known_digests: (N,) their digests.
    """

    files: tuple[Path, ...]
    channels: int
    side: int
    threads: int
    rendering: Rendering
    known_digests: Digests

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return len(self.files), self.channels, self.side, self.side

    @property
    def num_threads(self) -> int:
        """Number of threads that decode ahead of time."""
        return self.threads

    def digests(self) -> Digests:
        """Returns the digests, which were computed when the images were checked."""
        return self.known_digests

    def read(self, indices: npt.NDArray[np.int64], into: Array) -> None:
        """Decodes images; grey images are repeated to the number of channels of the others."""
        for place, sample in enumerate(indices):
            try:
                into[place] = decode(self.files[sample], self.side, self.rendering).pixels
            except UNREADABLE as error:
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

    def digests(self) -> Digests:
        """Returns the digests of both domains; images of the target that are converted are read."""
        shape, first = self.source.shape[1:], self.source.shape[0]
        if self.target.shape[1:] == shape:
            return np.concatenate([digests_of(self.source), digests_of(self.target)])
        converted = SelectedImages(self, np.arange(first, self.shape[0]))
        return np.concatenate([digests_of(self.source), StreamedImages.digests(converted)])


@dataclass(frozen=True)
class SelectedImages(StreamedImages):
    """Some of the samples of streamed images."""

    images: StreamedImages
    kept: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return len(self.kept), *self.images.shape[1:]

    @property
    def num_threads(self) -> int:
        """Number of threads that decode ahead of time."""
        return self.images.num_threads

    def digests(self) -> Digests:
        """Returns the digests of these samples."""
        return self.images.digests()[self.kept]

    def read(self, indices: npt.NDArray[np.int64], into: Array) -> None:
        """Reads the samples from all images."""
        self.images.read(self.kept[indices], into)


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


def digest(sample: npt.NDArray[np.generic]) -> bytes:
    """Returns a digest of a sample's input, equal for equal inputs."""
    return hashlib.blake2b(np.ascontiguousarray(sample).tobytes(), digest_size=_DIGEST_SIZE).digest()


def join_digests(digests: Iterable[bytes]) -> Digests:
    """Returns digests as an array (N,)."""
    return np.frombuffer(b"".join(digests), dtype=f"V{_DIGEST_SIZE}")


def digests_of(images: Pixels | StreamedImages) -> Digests:
    """Returns a digest (N,) of each sample's input; streamed images are read only where none is known."""
    return images.digests() if isinstance(images, StreamedImages) else join_digests(map(digest, images))


def in_shape(images: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Scales images to this (C, H, W) and converts them to its number of channels."""
    if images.shape[1:] == shape:
        return images
    channels, height, width = shape
    grey = images.mean(axis=1, keepdims=True) if channels < images.shape[1] else images
    scaled = functional.interpolate(torch.from_numpy(grey).float(), (height, width), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1).numpy()
