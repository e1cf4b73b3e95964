"""The samples of a data set on the device, and the batches drawn from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supercm_ray.config import Config
from supercm_ray.core import rank, world_size
from supercm_ray.data.augment import weak_view
from supercm_ray.data.dataset import Dataset
from supercm_ray.data.draws import SampleDraws
from supercm_ray.data.images import StreamedImages
from supercm_ray.data.splits import Splits
from supercm_ray.data.streaming import Stream


@dataclass(frozen=True)
class Batch:
    """Samples of one step: labeled images (B, C, H, W), unaugmented and weakly augmented, their labels (B,), and
    unlabeled images (U, C, H, W), unaugmented and weakly augmented; fp32 in [0, 1].

    Attributes:
        labeled_indices: (B,) the position of each labeled sample among all labeled samples, from 0.
        unlabeled_indices: (U,) the position of each unlabeled sample among all unlabeled samples, from 0.
    """

    labeled_clean: Tensor
    labeled: Tensor
    labels: Tensor
    unlabeled_clean: Tensor
    unlabeled: Tensor
    labeled_indices: Tensor
    unlabeled_indices: Tensor


@dataclass(frozen=True)
class DeviceData:
    """A data set on the device, in uint8 until a batch is drawn, with the sample indices of each split in ascending
    order. Streamed images are moved to the device batch by batch.

    Attributes:
        std: (C, 1, 1), standard deviation of the inputs by channel, as `Dataset.std`.
    """

    images: Tensor | Stream
    labels: Tensor
    labeled: Tensor
    unlabeled: Tensor
    val: Tensor
    test: Tensor
    std: Tensor

    @classmethod
    def of(cls, dataset: Dataset, splits: Splits, device: torch.device) -> DeviceData:
        """Moves all samples to the device; on the CPU it shares the arrays' memory."""
        parts = (splits.labeled, splits.unlabeled, splits.val, splits.test)
        images, labels = dataset.images, _shared(dataset.labels).to(device)
        taken = Stream(images, device) if isinstance(images, StreamedImages) else _shared(images).to(device)
        labeled, unlabeled, val, test = (torch.as_tensor(part, device=device) for part in parts)
        std = torch.tensor(dataset.std, device=device).view(-1, 1, 1)
        return cls(taken, labels, labeled, unlabeled, val, test, std)

    def expect(self, batches: Iterable[Tensor]) -> None:
        """Announces the samples of the next calls of `pixels`, in order, so that streamed images are decoded ahead of
        time.
        """
        if isinstance(self.images, Stream):
            self.images.expect(batches)

    def pixels(self, indices: Tensor) -> Tensor:
        """Returns the images of these samples in fp32 (see `as_floats`)."""
        return as_floats(self.images[indices])


def as_floats(images: Tensor) -> Tensor:
    """Converts uint8 pixels to fp32 in [0, 1]; other inputs are returned unchanged."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def epoch_indices(indices: Tensor, num_steps: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Returns (num_steps, batch_size) sample indices: shuffled passes over `indices`, one after the other, cut at the
    end. On several workers each gets its equal part of every batch.
    """
    needed = num_steps * batch_size
    passes = -(-needed // len(indices)) if needed else 0
    order = [indices[torch.randperm(len(indices), generator=generator, device=indices.device)] for _ in range(passes)]
    return _own_part(torch.cat([*order, indices[:0]])[:needed], num_steps, batch_size)


def independent_indices(indices: Tensor, num_steps: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Returns (num_steps, batch_size) sample indices, each drawn from all of `indices` with equal probability. On
    several workers each gets its equal part of every batch.
    """
    places = torch.randint(len(indices), (num_steps * batch_size,), generator=generator, device=indices.device)
    return _own_part(indices[places], num_steps, batch_size)


def _own_part(indices: Tensor, num_steps: int, batch_size: int) -> Tensor:
    """Divides indices (num_steps * batch_size,) into batches and returns this worker's part of each."""
    assert batch_size % world_size() == 0
    return indices.view(num_steps, world_size(), batch_size // world_size())[:, rank()]


def draw_batch(
    data: DeviceData, labeled: Tensor, unlabeled: Tensor, config: Config, generator: torch.Generator
) -> Batch:
    """Draws and augments the batch of these sample indices."""
    clean = data.pixels(torch.cat([labeled, unlabeled]))
    count = len(labeled)
    weak = weak_view(clean, config.data, SampleDraws(generator, count, len(unlabeled)), data.std)
    places = (torch.searchsorted(data.labeled, labeled), torch.searchsorted(data.unlabeled, unlabeled))
    return Batch(clean[:count], weak[:count], data.labels[labeled], clean[count:], weak[count:], *places)


def _shared(array: npt.NDArray[np.generic]) -> Tensor:
    with warnings.catch_warnings():  # arrays of the object store are read-only, and nothing here writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
