"""The rows of a data set on the device, and the batches drawn from them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supercm_ray.config import Config
from supercm_ray.data.augment import weak_view
from supercm_ray.data.dataset import Dataset
from supercm_ray.data.splits import Splits


@dataclass(frozen=True)
class Batch:
    """One step's rows: labeled images (B, C, H, W) as they are and weakly augmented, their labels (B,), and unlabeled
    images (U, C, H, W) likewise; fp32 in [0, 1].
    """

    labeled_clean: Tensor
    labeled: Tensor
    labels: Tensor
    unlabeled_clean: Tensor
    unlabeled: Tensor


@dataclass(frozen=True)
class DeviceData:
    """A data set on the device, uint8 until a batch is drawn, with the row numbers of each split."""

    images: Tensor
    labels: Tensor
    labeled: Tensor
    unlabeled: Tensor
    val: Tensor
    test: Tensor

    @classmethod
    def of(cls, dataset: Dataset, splits: Splits, device: torch.device) -> DeviceData:
        """Moves everything to the device; on the CPU it shares the arrays' memory."""
        parts = (splits.labeled, splits.unlabeled, splits.val, splits.test)
        images, labels = _shared(dataset.images), _shared(dataset.labels)
        return cls(images.to(device), labels.to(device), *(torch.as_tensor(part, device=device) for part in parts))

    def pixels(self, rows: Tensor) -> Tensor:
        """Images of these rows in fp32: pixels in [0, 1], or what the data set holds where that is no pixels."""
        images = self.images[rows]
        return images.float() / 255.0 if images.dtype == torch.uint8 else images


def epoch_rows(rows: Tensor, num_steps: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """(num_steps, batch_size) row numbers: shuffled passes over `rows`, one after the other, cut at the end."""
    needed = num_steps * batch_size
    passes = -(-needed // len(rows)) if needed else 0
    order = [rows[torch.randperm(len(rows), generator=generator, device=rows.device)] for _ in range(passes)]
    return torch.cat([*order, rows[:0]])[:needed].view(num_steps, batch_size)


def draw_batch(
    data: DeviceData, labeled: Tensor, unlabeled: Tensor, config: Config, generator: torch.Generator
) -> Batch:
    """The batch of these row numbers, augmented."""
    clean = data.pixels(torch.cat([labeled, unlabeled]))
    weak = weak_view(clean, config.data, generator)
    count = len(labeled)
    return Batch(clean[:count], weak[:count], data.labels[labeled], clean[count:], weak[count:])


def _shared(array: npt.NDArray[np.generic]) -> Tensor:
    with warnings.catch_warnings():  # arrays of the object store are read-only, and nothing here writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
