"""BatchNorm over the samples of all workers, on any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supercm_ray.core import all_reduce_sum, world_size


class SyncBatchNorm(_BatchNorm):
    """BatchNorm over the samples of all workers on any device, for workers with equally many samples. PyTorch's
    `nn.SyncBatchNorm` supports GPUs only, and makes the CPU wait for the GPU in every layer to learn the number of
    samples of each worker.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 (torch's name for it)
        """Accepts any input (B, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalises (B, C, ...) by the mean and variance of each channel, in training over all workers."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        dims = [dim for dim in range(input.ndim) if dim != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        mean = all_reduce_sum(values.mean(dims)) / world_size()
        centred = values - mean.view(shape)
        variance = all_reduce_sum(centred.square().mean(dims)) / world_size()
        self._follow(mean.detach(), variance.detach(), input.numel() // input.shape[1] * world_size())
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, num_values: int) -> None:
        """Updates the running statistics, with the unbiased variance, as `nn.BatchNorm` does."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * num_values / max(num_values - 1, 1), momentum)


def synchronise_batch_norm(model: nn.Module) -> None:
    """Makes every BatchNorm within `model` normalise over all workers. Parameters and buffers stay the same objects."""
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            setattr(model, name, _synchronised(child))
        else:
            synchronise_batch_norm(child)


def _synchronised(layer: _BatchNorm) -> SyncBatchNorm:
    synced = SyncBatchNorm(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    synced._parameters, synced._buffers = layer._parameters, layer._buffers
    return synced.train(layer.training)
