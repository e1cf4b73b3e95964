"""The workers of a data-parallel run: those of torch.distributed's default process group, or this process alone.

Every worker holds an equal share of each batch. What is a mean over samples, DDP's average of gradients makes exact;
what is not, such as a class mean or the logarithm of a mean, is computed from sums over all workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def world_size() -> int:
    """How many workers there are; 1 where torch.distributed is not initialised."""
    return distributed.get_world_size() if _distributed() else 1


def rank() -> int:
    """The number of this worker, from 0."""
    return distributed.get_rank() if _distributed() else 0


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of a tensor over all workers, the same on each; every worker must call it, in the same order.

    The gradient is that of the sum of all workers' losses, so that a loss made from totals, which is the same on every
    worker, has the right gradient once DDP has averaged.
    """
    if world_size() == 1:
        return values
    result: Tensor = _Total.apply(values)
    return result


def own_samples(values: Tensor, parts: Sequence[int], dim: int = 0) -> Tensor:
    """This worker's samples along `dim` of values for the samples of all workers.

    Args:
        values: for a batch made of parts, such as labeled and unlabeled samples, each part of all workers in turn.
        parts: a worker's samples of each part.
        dim: along which the samples lie.
    """
    if world_size() == 1:
        return values
    whole = torch.split(values, [indices * world_size() for indices in parts], dim)
    return torch.cat(
        [part.narrow(dim, rank() * indices, indices) for part, indices in zip(whole, parts, strict=True)], dim
    )


def local_shard(indices: Tensor) -> Tensor:
    """This worker's part of samples that are to be shared out, as evenly as may be, in order."""
    return indices.tensor_split(world_size())[rank()]


@torch.no_grad()
def all_gather(values: Tensor, num_samples: int) -> Tensor:
    """The samples of all workers, in order, on each of them, from what each has computed on its `share` of
    `num_samples`.
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
    """The value, any that pickles, that the first worker gives; what others give does not count."""
    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def all_gather_object(value: T) -> list[T]:
    """The values, any that pickle, of all workers, by rank, on each of them."""
    if world_size() == 1:
        return [value]
    values = [value] * world_size()
    distributed.all_gather_object(values, value)
    return values


def _distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _Total(torch.autograd.Function):
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
