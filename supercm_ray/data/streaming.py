"""Batches of streamed images, decoded ahead of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supercm_ray.data.images import StreamedImages

_Rows = npt.NDArray[np.int64]


class Stream:
    """Streamed images that are moved to the device when they are taken. Batches announced by `expect` are decoded in
    threads ahead of time, as many at once as there are threads, and one more.
    """

    def __init__(self, images: StreamedImages, device: torch.device) -> None:
        """Starts the threads.

        Args:
            images: the images.
            device: the device that batches are moved to.
        """
        self._images, self._device = images, device
        self._pool = ThreadPoolExecutor(images.num_threads, thread_name_prefix="decode")
        self._announced: deque[_Rows] = deque()
        self._begun: deque[tuple[_Rows, Future[Tensor]]] = deque()

    def expect(self, batches: Iterable[Tensor]) -> None:
        """Announces the samples of the next calls, in order, replacing earlier announcements."""
        for _, future in self._begun:
            future.cancel()
        self._begun.clear()
        self._announced = deque(indices.cpu().numpy() for indices in batches)
        self._begin()

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Returns the images of these samples, (B, C, H, W) in uint8 on the device."""
        numbers = indices.cpu().numpy()
        if not self._begun or not np.array_equal(self._begun[0][0], numbers):
            return self._fetch(numbers)
        _, future = self._begun.popleft()
        self._begin()
        return future.result()

    def _begin(self) -> None:
        while self._announced and len(self._begun) <= self._images.num_threads:
            indices = self._announced.popleft()
            self._begun.append((indices, self._pool.submit(self._fetch, indices)))

    def _fetch(self, indices: _Rows) -> Tensor:
        return torch.from_numpy(self._images[indices]).to(self._device)
