"""The workers of a data-parallel run: those of torch.distributed's default process group, or this process alone.

Every worker holds equally many samples of each batch. A loss that is a mean over samples is exact after DDP has
averaged gradients; a loss that is not, such as one with a class mean or the logarithm of a mean, is computed from sums
over all workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def world_size() -> int:
    """Returns the number of workers; 1 if torch.distributed is not initialised."""
    return distributed.get_world_size() if _distributed() else 1


def rank() -> int:
    """Returns the rank of this worker, from 0."""
    return distributed.get_rank() if _distributed() else 0


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sums a tensor over all workers; every worker must call this, in the same order, and gets the sum.

    The gradient is that of the sum of all workers' losses. A loss computed from such sums, which is the same on every
    worker, therefore has the right gradient once DDP has averaged.
    """
    if world_size() == 1:
        return values
    result: Tensor = _AllReduceSum.apply(values)
    return result


def all_reduce_logsumexp(values: Tensor) -> Tensor:
    """Computes `log(sum(exp(values)))` over all workers, element by element, without leaving the logarithm. Every
    worker must call this; the gradient is that of `all_reduce_sum`.
    """
    if world_size() == 1:
        return values
    by_worker = values.new_zeros(world_size(), *values.shape)
    by_worker[rank()] = values
    return all_reduce_sum(by_worker).logsumexp(dim=0)


def own_samples(values: Tensor, parts: Sequence[int], dim: int = 0) -> Tensor:
    """Selects this worker's samples along `dim` from values for the samples of all workers.

    Args:
        values: values for a batch made of parts, such as labeled and unlabeled samples; each part holds all workers'
            samples in order of rank.
        parts: number of samples of each part on one worker.
        dim: the dimension along which the samples lie.
    """
    if world_size() == 1:
        return values
    whole = torch.split(values, [indices * world_size() for indices in parts], dim)
    return torch.cat(
        [part.narrow(dim, rank() * indices, indices) for part, indices in zip(whole, parts, strict=True)], dim
    )


def local_shard(indices: Tensor) -> Tensor:
    """Returns this worker's part of the indices, in order, divided over the workers as evenly as possible."""
    return indices.tensor_split(world_size())[rank()]


@torch.no_grad()
def all_gather(values: Tensor, num_samples: int) -> Tensor:
    """Gathers values computed on each worker's `local_shard` of `num_samples` samples, and returns those of all samples
    in order.
    """
    if world_size() == 1:
        return values
    sizes = [len(part) for part in torch.empty(num_samples).tensor_split(world_size())]
    padded = values.new_zeros(max(sizes), *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def broadcast_object(value: T) -> T:
    """Returns the first worker's value, which must pickle, on every worker; the values of the others are ignored."""
    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def all_gather_object(value: T) -> list[T]:
    """Returns the values of all workers, which must pickle, by rank, on every worker."""
    if world_size() == 1:
        return [value]
    values = [value] * world_size()
    distributed.all_gather_object(values, value)
    return values


def _distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _AllReduceSum(torch.autograd.Function):
    """An all-reduce whose gradient is all-reduced.

    torch.distributed.nn.functional.all_reduce computes the same, but newer PyTorch warns at each call that it is
    deprecated and refuses to compile it; what it names instead is private.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _sum(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _sum(gradients[0])


def _sum(values: Tensor) -> Tensor:
    result = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(result)
    return result
