"""A stopwatch for the collectives of a step, which tells waiting for other workers from communicating with them."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.futures import Future

T = TypeVar("T")

_COLLECTIVES = ("all_reduce", "all_gather_into_tensor")
_MEETINGS = 11


def device_time_s(device: torch.device) -> float:
    """The time in seconds, once all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch:
    """Adds up what the collectives of a step take on this worker. All workers must use theirs alike.

    Attributes:
        communication_s: seconds in collectives once all workers were there.
        waiting_s: seconds until they were.
        num_collectives: collectives, and `num_bytes` that they carried together.
        aside_s: seconds that the watching itself took, which belong to neither the step nor its parts.
    """

    def __init__(self, device: torch.device) -> None:
        """Finds what it takes workers to meet who are all there; on a single worker there is nothing to meet."""
        self._device = device
        self._several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        self._all_reduce: Callable[..., Any] = distributed.all_reduce
        self._token = torch.zeros(1, device=device)
        self._meeting_s = statistics.median([self._meet() for _ in range(_MEETINGS)]) if self._several else 0.0
        self.clear()

    def clear(self) -> None:
        """Begins a step."""
        self.communication_s = self.waiting_s = self.aside_s = 0.0
        self.num_collectives = self.num_bytes = 0
        self._own = self._mean = torch.zeros((), device=self._device)

    def squares(self) -> tuple[float, float]:
        """Squared norms of this worker's gradient and of the mean of all workers', in this step. On a network that ties
        workers together in other sums too, the former is that of its share of the loss.
        """
        return float(self._own), float(self._mean)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the time of the block every collective of torch.distributed that a step uses is timed."""
        kept = {name: getattr(distributed, name) for name in _COLLECTIVES} if self._several else {}
        for name, function in kept.items():
            setattr(distributed, name, functools.partial(self._watched, function))
        try:
            yield
        finally:
            for name, function in kept.items():
                setattr(distributed, name, function)

    def reduce_gradients(self, bucket: Any) -> Future[Tensor]:
        """What a communication hook of DDP does: averages the gradients of a bucket, as DDP would."""
        gradients = bucket.buffer()
        self._own = self._own + self._square(gradients)
        gradients.div_(distributed.get_world_size())
        self.collective(lambda: self._all_reduce(gradients), gradients)
        self._mean = self._mean + self._square(gradients)
        future: Future[Tensor] = Future(devices=[gradients.device] if gradients.is_cuda else [])
        future.set_result(gradients)
        return future

    def collective(self, work: Callable[[], T], carried: Tensor) -> T:
        """Times a collective, from when all workers are there, and counts it with the tensor that it carries."""
        met_s = self._meet()
        started = device_time_s(self._device)
        result = work()
        self.communication_s += device_time_s(self._device) - started
        self.waiting_s += max(0.0, met_s - self._meeting_s)
        self.aside_s += min(met_s, self._meeting_s)
        self.num_collectives += 1
        self.num_bytes += carried.numel() * carried.element_size()
        return result

    def _watched(self, function: Callable[..., T], tensor: Tensor, *args: Any, **kwargs: Any) -> T:
        return self.collective(lambda: function(tensor, *args, **kwargs), tensor)

    def _meet(self) -> float:
        """Waits for all workers; the seconds that took."""
        started = device_time_s(self._device)
        self._all_reduce(self._token)
        return device_time_s(self._device) - started

    def _square(self, values: Tensor) -> Tensor:
        started = device_time_s(self._device)
        square = values.detach().float().square().sum()
        self.aside_s += device_time_s(self._device) - started
        return square
