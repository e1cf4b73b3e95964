"""The inputs of a model: files as its data set reads them, or arrays. Shapes: N samples, C channels, H by W pixels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supercm_ray.data import UNLABELED, Dataset, as_floats, read_inputs
from supercm_ray.data.images import StreamedImages, in_shape
from supercm_ray.data.streaming import Stream
from supercm_ray.errors import StudyError
from supercm_ray.inference.card import ModelCard
from supercm_ray.models.predictor import unit_length

logger = logging.getLogger(__name__)

Inputs: TypeAlias = str | Path | Sequence[str | Path] | npt.NDArray[np.generic] | Tensor | Dataset
"""Paths of files and folders, an array, or a data set."""


def as_dataset(card: ModelCard, inputs: Inputs) -> Dataset:
    """Reads inputs as those of this model.

    Raises:
        StudyError: for inputs that cannot be read, or of another kind or shape than the model was trained on.
    """
    if isinstance(inputs, Dataset):
        dataset = inputs
    elif isinstance(inputs, np.ndarray | Tensor):
        dataset = _of_array(card, inputs)
    else:
        paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
        files = [Path(path).expanduser() for path in paths]
        dataset = read_inputs(card.place, files, shape=card.shape, decoding=card.decoding, columns=card.columns)
        log_notes(dataset)
    _check(card, dataset)
    return dataset


def batches(card: ModelCard, dataset: Dataset, parts: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yields the samples of each batch of indices in the model's shape, (B, C, H, W) in fp32 on the device. Streamed
    images are decoded ahead of time.
    """
    for taken in taken_batches(dataset, parts):
        images = taken if card.takes_vectors else torch.from_numpy(in_shape(taken.numpy(), card.shape))
        yield as_floats(images.to(device))


def taken_batches(dataset: Dataset, parts: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yields the samples of each batch of indices as they are in the data set, on the CPU."""
    images = dataset.images
    if not isinstance(images, StreamedImages):
        yield from (torch.from_numpy(np.array(images[part.numpy()])) for part in parts)
        return
    stream = Stream(images, torch.device("cpu"))
    stream.expect(parts)
    yield from (stream[part] for part in parts)


def log_notes(dataset: Dataset) -> None:
    """Logs what was left out of a data set or is odd about it."""
    for note in dataset.notes:
        logger.warning("%s", note)


def sample_names(dataset: Dataset) -> Sequence[str]:
    """Returns the names of a data set's samples, or their numbers."""
    return dataset.sample_names or [str(i) for i in range(len(dataset.labels))]


def _of_array(card: ModelCard, given: npt.NDArray[np.generic] | Tensor) -> Dataset:
    array = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
    images = _vectors(card, array) if card.takes_vectors else _images(card, array)
    return Dataset(
        name="inputs",
        images=images,
        labels=np.full(len(images), UNLABELED, dtype=np.int64),
        class_names=card.class_names,
        mean=(0.0,),
        std=(1.0,),
    )


def _vectors(card: ModelCard, array: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    if array.dtype.kind not in "iufb" or array.ndim not in (2, 4) or array.shape[2:] not in ((), (1, 1)):
        raise _unfit(card, f"an array {array.shape} of {array.dtype}")
    vectors = array.reshape(len(array), -1).astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise StudyError(
            f"every value must be a finite number in inputs, got {len(broken)} samples with others, the first is "
            f"sample {broken[0]}; mend or leave out these samples"
        )
    if card.l2_normalise:
        vectors = unit_length(torch.from_numpy(vectors)).numpy()
    return vectors[:, :, None, None]


def _images(card: ModelCard, array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Converts (N, H, W), (N, H, W, C) or (N, C, H, W) to (N, C, H, W); the model's shape tells which it is."""
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise _unfit(card, f"an array {array.shape} of {array.dtype}")
    images = array.astype(np.uint8, copy=False)
    if images.ndim == 3:
        return images[:, None]
    size = card.shape[1:]
    is_last = images.shape[1:3] == size and images.shape[3] in (1, 3)
    return images.transpose(0, 3, 1, 2) if is_last and images.shape[2:] != size else images


def _check(card: ModelCard, dataset: Dataset) -> None:
    """Checks that the samples have the model's shape, or can be brought into it as in training: grey images get the
    channels of coloured ones or the other way round, and those of a target domain any size.
    """
    found, vectors = dataset.shape, dataset.images.dtype != np.uint8
    got = f"{'vectors of' if vectors else 'images of'} {found[0] if vectors else found}"
    if not len(dataset.labels):
        raise StudyError("at least one sample must be given as input, got none; name files with samples")
    if vectors != card.takes_vectors or (vectors and found != card.shape):
        raise _unfit(card, got)
    if not vectors and card.config.data.target is None and found[1:] != card.shape[1:]:
        raise _unfit(card, got)
    if not vectors and (found[0] not in (1, 3)) and found[0] != card.shape[0]:
        raise _unfit(card, got)


def _unfit(card: ModelCard, got: str) -> StudyError:
    return StudyError(
        f"inputs must be {card.described}, as the model {card.run} was trained on, got {got}; give such inputs, or "
        "take a model that was trained on these"
    )
