"""The data set `image_folder`: a folder of images. Shapes: N samples, C channels, H by W pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from supercm_ray.config import PlaceConfig
from supercm_ray.data.dataset import DATASETS, UNLABELED, Dataset
from supercm_ray.data.decoding import DecodedImages, DecodingOptions
from supercm_ray.data.folders import data_root
from supercm_ray.data.image_listing import Listing, list_folder
from supercm_ray.data.images import Array, ImageFiles
from supercm_ray.data.label_list import list_by_table
from supercm_ray.data.samples import stack_images, stream_images
from supercm_ray.errors import StudyError


class ImageFolderOptions(DecodingOptions):
    """Options of `image_folder`."""

    labels_file: str | None = None
    """Path of a csv or parquet file, relative to `root`, with a column of file names and a column of labels. Files
    with an empty label, and images that it does not name, are unlabeled. None: folders are classes."""
    file_key: str | None = None
    """Name of the column of file names in `labels_file`: paths relative to `root`, or names that one image alone has.
    None: the first column."""
    label_key: str | None = None
    """Name of the column of labels in `labels_file`. None: the second column."""
    stream: Literal["auto", "on", "off"] = "auto"
    """Whether images are decoded batch by batch. `off` keeps all images decoded in memory; `on` decodes those of the
    next batches in threads, with the same result; `auto` streams if they would take more than `memory_gib` in memory.
    Every node of a cluster must be able to read streamed files."""
    memory_gib: float = Field(4.0, gt=0)
    """Memory in GiB, above 0, that decoded images may take (three bytes a pixel) before `stream: auto` streams them."""


@DATASETS.register("image_folder", options=ImageFolderOptions)
def _load_image_folder(data: PlaceConfig, options: ImageFolderOptions) -> Dataset:
    root = data_root(data)
    if options.image_size is None:
        raise StudyError(
            "`data.options.image_size` must be given for image_folder, got nothing; all images get this side"
        )
    if not root.is_dir():
        raise StudyError(f"`data.root` must be a folder, got {str(root)!r}; image_folder cannot be fetched")
    if options.labels_file is None:
        listing = list_folder(root)
    else:
        listing = list_by_table(root, options.labels_file, options.file_key, options.label_key)
    take = stream_images if _is_streamed(options, len(listing.files)) else stack_images
    images, found = take([(path, str(path)) for path in listing.files], data.name, options)
    return _dataset(data.name, root, listing, images, found)


def _dataset(
    name: str,
    root: Path,
    listing: Listing,
    images: Array | ImageFiles,
    found: DecodedImages[Array] | DecodedImages[int],
) -> Dataset:
    index = {name: k for k, name in enumerate(listing.class_names)}
    labels = np.array([UNLABELED if name is None else index[name] for name in listing.classes], dtype=np.int64)
    channels = images.shape[1]
    return Dataset(
        name=name,
        images=images,
        labels=labels[found.indices],
        class_names=listing.class_names,
        mean=(0.5,) * channels,  # to [-1, 1]: no statistic of what may become the test split
        std=(0.5,) * channels,
        test_indices=_of_part(listing, found.indices, "test"),
        val_indices=_of_part(listing, found.indices, "val"),
        sample_names=tuple(listing.files[i].relative_to(root).as_posix() for i in found.indices),
        unlabeled_because=listing.unlabeled_because,
        notes=listing.notes + found.notes,
        decoding=found.decoding,
    )


def _of_part(listing: Listing, kept: npt.NDArray[np.int64], part: str) -> npt.NDArray[np.int64] | None:
    """Returns the samples of a part, or None if there are none."""
    found = np.flatnonzero([listing.parts[i] == part for i in kept])
    return found if len(found) else None


def _is_streamed(options: ImageFolderOptions, num_images: int) -> bool:
    assert options.image_size is not None
    size = num_images * 3 * options.image_size**2
    return options.stream == "on" or (options.stream == "auto" and size > options.memory_gib * 2**30)
