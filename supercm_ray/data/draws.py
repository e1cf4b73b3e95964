"""Random numbers for the samples of a batch, the same for any number of workers."""

from __future__ import annotations

import torch
from torch import Tensor

from supercm_ray.core import own_samples, world_size


class SampleDraws:
    """Random numbers for the samples of a batch. Each of several workers draws those for the samples of all workers and
    uses its own, so that the augmentation of a sample does not depend on the number of workers.
    """

    def __init__(self, generator: torch.Generator, *parts: int) -> None:
        """Stores the arguments; nothing is drawn yet.

        Args:
            generator: the generator, in the same state on all workers.
            *parts: number of samples on one worker of each part of the batch, such as labeled and unlabeled samples.
        """
        self._generator = generator
        self._parts = parts

    def normal(self, *shape: int, dim: int = 0) -> Tensor:
        """Draws standard normal numbers of this shape, with the samples along `dim`."""
        whole = torch.randn(self._whole(shape, dim), generator=self._generator, device=self._generator.device)
        return own_samples(whole, self._parts, dim)

    def uniform(self, *shape: int, dim: int = 0) -> Tensor:
        """Draws numbers in [0, 1) of this shape, with the samples along `dim`."""
        whole = torch.rand(self._whole(shape, dim), generator=self._generator, device=self._generator.device)
        return own_samples(whole, self._parts, dim)

    def integers(self, end: int, *shape: int, dim: int = 0) -> Tensor:
        """Draws whole numbers in [0, end) of this shape, with the samples along `dim`."""
        whole = torch.randint(end, self._whole(shape, dim), generator=self._generator, device=self._generator.device)
        return own_samples(whole, self._parts, dim)

    def _whole(self, shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
        assert shape[dim] == sum(self._parts)
        return (*shape[:dim], shape[dim] * world_size(), *shape[dim + 1 :])
