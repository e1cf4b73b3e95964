"""A stopwatch for the collectives of a step that separates waiting for stragglers from communication.

It replaces functions of torch.distributed while it watches. torch.profiler, the public way to time collectives, is no
substitute: it counts a worker's wait for the slowest one as part of the collective (with one of two workers 0.3 s late,
`gloo:all_reduce` of 4 kB takes 300 ms), and clocks of several nodes do not agree well enough to subtract that wait.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor, distributed
from torch.futures import Future

T = TypeVar("T")
P = ParamSpec("P")

_COLLECTIVES = ("all_reduce", "all_gather_into_tensor")
_MEETINGS = 11


class GradientBucket(Protocol):
    """The gradients that DDP reduces together."""

    def buffer(self) -> Tensor:
        """Returns all of them in one tensor."""


def device_time_s(device: torch.device) -> float:
    """Returns the time in seconds, once the device has finished everything submitted to it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch:
    """Adds up the times of a step's collectives on this worker. All workers must use theirs in the same way.

    Attributes:
        communication_s: seconds in collectives once all workers have reached them.
        straggler_wait_s: seconds of waiting for the slowest worker to reach them.
        overhead_s: seconds that the measurement itself takes, which belong to no part of the step.
        num_collectives: number of collectives so far.
        num_bytes: bytes that they carried together.
    """

    def __init__(self, device: torch.device) -> None:
        """Measures the duration of a barrier that all workers have reached; a single worker needs none."""
        self._device = device
        self._several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        self._all_reduce = distributed.all_reduce
        self._token = torch.zeros(1, device=device)
        self._meeting_s = statistics.median([self._meet() for _ in range(_MEETINGS)]) if self._several else 0.0
        self.clear()

    def clear(self) -> None:
        """Resets all times and counts to zero, for the next step."""
        self.communication_s = self.straggler_wait_s = self.overhead_s = 0.0
        self.num_collectives = self.num_bytes = 0
        self._own = self._mean = torch.zeros((), device=self._device)

    def squares(self) -> tuple[float, float]:
        """Returns the squared norms of this worker's gradient and of the mean gradient of all workers in this step.

        If a loss sums over all workers, a worker's gradient is that of its part of the loss.
        """
        return float(self._own), float(self._mean)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Times every collective of torch.distributed that a step uses, within the block."""
        kept = {name: getattr(distributed, name) for name in _COLLECTIVES} if self._several else {}
        for name, function in kept.items():
            setattr(distributed, name, functools.partial(self._watched, function))
        try:
            yield
        finally:
            for name, function in kept.items():
                setattr(distributed, name, function)

    def reduce_gradients(self, bucket: GradientBucket) -> Future[Tensor]:
        """Averages the gradients of a bucket over all workers, as DDP does; registered as DDP's communication hook."""
        gradients = bucket.buffer()
        self._own = self._own + self._square(gradients)
        gradients.div_(distributed.get_world_size())
        self.collective(lambda: self._all_reduce(gradients), gradients)
        self._mean = self._mean + self._square(gradients)
        future: Future[Tensor] = Future(devices=[gradients.device] if gradients.is_cuda else [])
        future.set_result(gradients)
        return future

    def collective(self, work: Callable[[], T], carried: Tensor) -> T:
        """Runs a collective once all workers are there, times it, and counts it and the tensor that it carries."""
        met_s = self._meet()
        started = device_time_s(self._device)
        result = work()
        self.communication_s += device_time_s(self._device) - started
        self.straggler_wait_s += max(0.0, met_s - self._meeting_s)
        self.overhead_s += min(met_s, self._meeting_s)
        self.num_collectives += 1
        self.num_bytes += carried.numel() * carried.element_size()
        return result

    def _watched(
        self, function: Callable[Concatenate[Tensor, P], T], tensor: Tensor, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return self.collective(lambda: function(tensor, *args, **kwargs), tensor)

    def _meet(self) -> float:
        """Waits for all workers and returns the seconds of waiting."""
        started = device_time_s(self._device)
        self._all_reduce(self._token)
        return device_time_s(self._device) - started

    def _square(self, values: Tensor) -> Tensor:
        started = device_time_s(self._device)
        square = values.detach().float().square().sum()
        self.overhead_s += device_time_s(self._device) - started
        return square
