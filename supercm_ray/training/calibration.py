"""Statistics of BatchNorm before the first step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def calibrate_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets the running statistics of every BatchNorm within `model` to their mean over batches of inputs.

    A layer in eval mode, as in a frozen backbone, keeps its own, and normalises by them. No other layer is in training
    mode, so that nothing is drawn at random. The batches are not read if there is no BatchNorm in training mode.
    (torch.optim.swa_utils.update_bn puts every layer into training mode, frozen ones too.)
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    if not layers:
        return
    modes = {module: module.training for module in model.modules()}
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
        layer.training = True
    for batch in batches:
        model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for module, mode in modes.items():
        module.training = mode
