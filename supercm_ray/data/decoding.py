"""Decoding of image files and of encoded images. Shapes: N images, C channels, H by W pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field, PrivateAttr

from supercm_ray.config import OptionsModel
from supercm_ray.data.pixels import find_max_pixel, full_range, has_contrast, range_notes
from supercm_ray.data.reasons import counted, reason
from supercm_ray.errors import StudyError

Array = npt.NDArray[np.uint8]
Source = Path | BinaryIO
"""A file with an encoded image: its path or an open stream."""
Background = Literal["white", "black"]
T = TypeVar("T")

UNREADABLE = (
    *(UnidentifiedImageError, Image.DecompressionBombError, OSError, EOFError, ValueError, SyntaxError, TypeError),
    *(LookupError, ArithmeticError, RuntimeError, MemoryError, AttributeError, struct.error, zlib.error, Warning),
)
"""Exceptions that Pillow raises for damaged images."""


class DecodingOptions(OptionsModel):
    """Options of data sets that hold images."""

    inherited: ClassVar[frozenset[str]] = frozenset({"image_size", "skip_corrupt"})

    image_size: int | None = Field(None, ge=1)
    """Side in pixels, from 1, to which images are scaled and cropped. None: their own size."""
    skip_corrupt: bool = False
    """Whether to leave out images that cannot be decoded, with a warning that counts them, instead of ending with an
    error."""
    max_pixel: float | None = Field(None, gt=0)
    """Pixel value that becomes white, above 0; black is 0, and larger values become white as well. For pixels of 8
    bits it is at most 255. None: the largest value of the pixels' type (255 for 8 bits, 65535 for 16 bits, 1 or 255
    for floats), unless all pixels of the data set are below an eighth of it: then the smallest 2^n - 1 that none
    exceeds or, for floats, the largest pixel."""
    background: Background | None = None
    """Colour behind transparent pixels, `white` or `black`. None: white if the visible pixels of all transparent
    images of the data set are dark on average, otherwise black."""
    stream_threads: int = Field(4, ge=1)
    """Number of threads that decode images, at the start and while they are streamed; from 1."""
    _of_pixels: str = PrivateAttr("")

    def max_pixel_for(self, dtype: np.dtype[np.generic], largest: float) -> float | None:
        """Returns the pixel value that becomes white in pixels of this type, the largest of which is `largest`; None if
        it is open, as that of another data set is whose pixels have another full range.
        """
        if not self._of_pixels or self.max_pixel is None:
            return self.max_pixel
        theirs = np.dtype(self._of_pixels)
        is_alike = dtype == theirs and dtype.kind != "f"  # floats of one type may be up to 1 or up to 255
        if is_alike or full_range(dtype, largest) == full_range(theirs, self.max_pixel):
            return self.max_pixel
        return None


_Options = TypeVar("_Options", bound=OptionsModel)
_Decoding = TypeVar("_Decoding", bound=DecodingOptions)


def decode_alike(options: _Options, decoding: Mapping[str, float | str]) -> _Options:
    """Returns options by which images are decoded like those of another data set, whose `decoding` this is, as far as
    they decode images and leave it open.
    """
    if not isinstance(options, DecodingOptions):
        return options
    names = [name for name in ("max_pixel", "background") if name in decoding and getattr(options, name) is None]
    alike = options.model_copy(update={name: decoding[name] for name in names})
    if "max_pixel" in names:
        alike._of_pixels = str(decoding.get("pixels", ""))
    return alike


def with_decoding(options: _Decoding, decoding: DecodingOptions) -> _Decoding:
    """Returns options by which images are decoded as by others."""
    taken = options.model_copy(update={name: getattr(decoding, name) for name in DecodingOptions.model_fields})
    taken._of_pixels = decoding._of_pixels
    return taken


def decoding_of(dtype: np.dtype[np.generic], max_pixel: float) -> dict[str, float | str]:
    """Returns the `decoding` of a data set whose pixels are of this type, and white at this value."""
    return {"max_pixel": max_pixel, "pixels": dtype.str}


@dataclass(frozen=True)
class Rendering:
    """What decides how the values of a file become pixels from 0 to 255.

    Attributes:
        max_pixel: the value that becomes white; None: the largest of each image's type.
        background: the colour behind transparent pixels.
    """

    max_pixel: float | None = None
    background: Background = "white"

    def white_of(self, dtype: np.dtype[np.generic]) -> float:
        """Returns the value that becomes white in images of this type."""
        full = full_range(dtype, 0.0)
        if self.max_pixel is None:
            return full
        return min(self.max_pixel, full) if dtype == np.uint8 else self.max_pixel


class Decoded(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: (C, H, W), with C = 1 for grey.
        dtype: the type of the file's pixels.
        largest: the largest of the file's pixels.
        brightness: the mean of the visible pixels from 0 to 255; None if no pixel is transparent.
    """

    pixels: Array
    dtype: np.dtype[np.generic]
    largest: float
    brightness: float | None


def decode(source: Source, side: int | None, rendering: Rendering) -> Decoded:
    """Decodes an image, turned as its EXIF orientation says. With a `side`, scales it so that the shorter side fits
    and crops the middle.
    """
    if not isinstance(source, Path):
        source.seek(0)
    with Image.open(source) as opened:
        ImageOps.exif_transpose(opened, in_place=True)
        is_wide = opened.mode.startswith("I") or opened.mode == "F"
        image, dtype, largest, brightness = (_from_wide if is_wide else _from_bytes)(opened, rendering)
    pixels = np.asarray(image if side is None else _to_side(image, side), dtype=np.uint8)
    return Decoded(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), dtype, largest, brightness)


_Converted = tuple[Image.Image, np.dtype[np.generic], float, float | None]


def _from_wide(image: Image.Image, rendering: Rendering) -> _Converted:
    """Converts grey pixels of 16 or 32 bits or of floats to 8 bits."""
    dtype = np.dtype(np.float32 if image.mode == "F" else np.int32 if image.mode == "I" else np.uint16)
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"its pixels must be numbers from 0 on, got {values.min()}")
    scaled = (values * (255.0 / rendering.white_of(dtype))).round().clip(0, 255)
    return Image.fromarray(scaled.astype(np.uint8)), dtype, float(values.max()), None


def _from_bytes(image: Image.Image, rendering: Rendering) -> _Converted:
    """Converts pixels of 8 bits a channel to grey or RGB, on the background where they are transparent."""
    mode, brightness = "L" if image.mode in ("1", "L", "LA", "La") else "RGB", None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        brightness = _brightness(image)
        image = Image.alpha_composite(Image.new("RGBA", image.size, rendering.background), image)
    image = image.convert(mode)
    largest = float(np.max(image.getextrema()))
    white = rendering.white_of(np.dtype(np.uint8))
    if white < 255:
        image = image.point([min(255, round(value * 255 / white)) for value in range(256)] * len(image.getbands()))
    return image, np.dtype(np.uint8), largest, brightness


def _brightness(image: Image.Image) -> float | None:
    """Returns the mean of the visible pixels of an RGBA image; None if none is transparent."""
    alpha = np.asarray(image.getchannel("A"), dtype=np.float64)
    if alpha.min() == 255:
        return None
    return float((np.asarray(image.convert("L")) * alpha).sum() / max(alpha.sum(), 1.0))


def _to_side(image: Image.Image, side: int) -> Image.Image:
    from torchvision.transforms import InterpolationMode  # seconds of import, which only such images need
    from torchvision.transforms.v2 import functional as transforms

    scaled = transforms.resize(image, [side], interpolation=InterpolationMode.BICUBIC)
    cropped: Image.Image = transforms.center_crop(scaled, [side, side])
    return cropped


@dataclass(frozen=True)
class DecodedImages(Generic[T]):
    """What was kept of each decoded image.

    Attributes:
        kept: what `keep` made of each image.
        indices: (N,) the positions of these images among the sources.
        rendering: what all were decoded with.
        decoding: the options that give this rendering again.
        notes: sentences about what was left out or is odd.
    """

    kept: list[T]
    indices: npt.NDArray[np.int64]
    rendering: Rendering
    decoding: dict[str, float | str]
    notes: tuple[str, ...]


class _Facts(NamedTuple, Generic[T]):
    kept: T
    dtype: np.dtype[np.generic]
    largest: float
    brightness: float | None
    has_contrast: bool


def decode_all(
    sources: Sequence[tuple[Source, str]], name: str, options: DecodingOptions, keep: Callable[[Array], T]
) -> DecodedImages[T]:
    """Decodes images in threads, and returns what `keep` makes of each that can be decoded. If the range of the data
    set's pixels, or their background, is not what the first pass took, there is a second pass.

    Args:
        sources: files or streams, each with its name in messages.
        name: the name of the data set, for messages.
        options: the side of the images, how they are rendered, and whether to leave out what cannot be decoded.
        keep: a function of a decoded image, called in threads.

    Raises:
        StudyError: for an image that cannot be decoded and is not to be left out, and if none can be decoded.
    """
    rendering = Rendering(options.max_pixel, options.background or "white")
    facts, indices, notes = _attempt_all(sources, name, options, rendering, keep)
    found = _find_rendering(facts, [sources[i][1] for i in indices], options)
    if any(found.white_of(one.dtype) != rendering.white_of(one.dtype) for one in facts) or (
        found.background != rendering.background and any(one.brightness is not None for one in facts)
    ):
        facts, indices, notes = _attempt_all(sources, name, options, found, keep)
    places = [sources[i][1] for i in indices]
    flat = [place for place, one in zip(places, facts, strict=True) if not one.has_contrast]
    notes += counted(flat, "{} images have next to no contrast")
    widest = _widest(facts)
    decoding = decoding_of(widest, found.white_of(widest))
    largest = {place: one.largest for place, one in zip(places, facts, strict=True) if one.dtype == widest}
    notes += range_notes(name, widest, found.white_of(widest), largest)
    if any(one.brightness is not None for one in facts):
        decoding["background"] = found.background
    return DecodedImages([one.kept for one in facts], indices, found, decoding, notes)


def _widest(facts: Sequence[_Facts[T]]) -> np.dtype[np.generic]:
    """Returns the type of the images with the most bits a pixel."""
    return max((one.dtype for one in facts), key=lambda dtype: dtype.itemsize)


def _find_rendering(facts: Sequence[_Facts[T]], places: Sequence[str], options: DecodingOptions) -> Rendering:
    """Returns the rendering that the options name, or that the images of the whole data set ask for."""
    types = {one.dtype: place for place, one in zip(places, facts, strict=True)}
    floats = [dtype for dtype in types if dtype.kind == "f"]
    if floats and len(types) > 1:
        other = next(place for dtype, place in types.items() if dtype.kind != "f")
        raise StudyError(
            "the images of a data set must all have whole numbers or all have floats as pixels, got floats in "
            f"{types[floats[0]]} and whole numbers in {other}; save them alike"
        )
    largest = max(one.largest for one in facts)
    bright = [one.brightness for one in facts if one.brightness is not None]
    background: Background = "white" if not bright or np.mean(bright) < 128 else "black"
    widest = _widest(facts)
    max_pixel = options.max_pixel_for(widest, largest) or find_max_pixel(widest, largest)
    return Rendering(max_pixel, options.background or background)


def _attempt_all(
    sources: Sequence[tuple[Source, str]],
    name: str,
    options: DecodingOptions,
    rendering: Rendering,
    keep: Callable[[Array], T],
) -> tuple[list[_Facts[T]], npt.NDArray[np.int64], tuple[str, ...]]:
    """Decodes all images once, and returns the facts of those that can be decoded, their positions, and a note."""

    def attempt(source: tuple[Source, str]) -> _Facts[T] | Exception:
        try:
            found = decode(source[0], options.image_size, rendering)
        except UNREADABLE as error:
            return error
        return _Facts(keep(found.pixels), *found[1:], bool(has_contrast(found.pixels[None])[0]))

    made: list[_Facts[T]] = []
    indices: list[int] = []
    skipped: list[str] = []
    with ThreadPoolExecutor(options.stream_threads) as pool:
        for i, ((_, place), found) in enumerate(zip(sources, pool.map(attempt, sources), strict=True)):
            if not isinstance(found, Exception):
                made.append(found)
                indices.append(i)
            elif options.skip_corrupt:
                skipped.append(place)
            else:
                pool.shutdown(wait=False, cancel_futures=True)
                raise StudyError(
                    f"every image must be readable for {name}, got {place}: {reason(found)}; mend it, or "
                    "set data.options.skip_corrupt=true to leave such images out"
                ) from found
    if not made:
        raise StudyError(f"at least one image must be readable for {name}, got {len(skipped)} that are not; add some")
    return made, np.array(indices, dtype=np.int64), counted(skipped, "left out {} images that cannot be decoded")
