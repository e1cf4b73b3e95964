"""Figures of a network on the rows of one split. Shapes: N rows, D features, K classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from supercm_ray.data import DeviceData


@dataclass(frozen=True)
class Evaluation:
    """Accuracy in [0, 1], mean cross-entropy, confusion (K, K) counts with the true class along the rows, and for
    each row its features (N, D), labels (N,) and predictions (N,).
    """

    accuracy: float
    loss: float
    confusion: Tensor
    features: Tensor
    labels: Tensor
    predictions: Tensor


@torch.no_grad()
def evaluate(model: nn.Module, data: DeviceData, rows: Tensor, batch_size: int = 1024) -> Evaluation:
    """Evaluates the model in eval mode on these rows (row numbers of `data`) and leaves its mode as it was."""
    was_training = model.training
    model.eval()
    outputs = [model(data.pixels(part)) for part in torch.split(rows, batch_size)]
    model.train(was_training)
    features_ND = torch.cat([output.features for output in outputs])
    logits_NK = torch.cat([output.logits for output in outputs])
    labels_N, predictions_N = data.labels[rows], logits_NK.argmax(dim=1)
    num_classes = logits_NK.shape[1]
    confusion_KK = torch.bincount(labels_N * num_classes + predictions_N, minlength=num_classes**2)
    return Evaluation(
        accuracy=(predictions_N == labels_N).double().mean().item(),
        loss=functional.cross_entropy(logits_NK, labels_N).item(),
        confusion=confusion_KK.view(num_classes, num_classes),
        features=features_ND,
        labels=labels_N,
        predictions=predictions_N,
    )
