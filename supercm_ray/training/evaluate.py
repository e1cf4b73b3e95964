"""Evaluation of a network on the samples of one split. Shapes: N samples, D features, K classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from supercm_ray.core import all_gather, class_sums, local_shard
from supercm_ray.data import DeviceData
from supercm_ray.models import Classifier, Outputs
from supercm_ray.training.metrics import balanced_accuracy_and_f1, calibration_error


@dataclass(frozen=True)
class Evaluation:
    """Results on a split.

    Attributes:
        accuracy: fraction of samples that are predicted rightly.
        loss: mean cross-entropy in nats.
        balanced_accuracy: mean over classes of the fraction of a class's samples that are predicted rightly.
        f1_macro: mean over classes of F1.
        ece: expected calibration error.
        confusion: (K, K) counts by true class (rows) and predicted class.
        features: (N, D).
        labels, predictions: (N,) class indices.
    """

    accuracy: float
    loss: float
    balanced_accuracy: float
    f1_macro: float
    ece: float
    confusion: Tensor
    features: Tensor
    labels: Tensor
    predictions: Tensor

    def metrics(self, split: str) -> dict[str, float]:
        """Returns the numbers by name of metric, such as `val/accuracy` for the split `val`."""
        return {f"{split}/{name}": getattr(self, name) for name in _NUMBERS}


_NUMBERS = ("accuracy", "loss", "balanced_accuracy", "f1_macro", "ece")


@torch.no_grad()
def predict(model: nn.Module, data: DeviceData, indices: Tensor, batch_size: int = 1024) -> Outputs:
    """Computes the outputs of the model in eval mode on these sample indices of `data`; the model's mode is restored.

    Several workers divide the samples among them, and each returns the outputs on all.
    """
    was_training = model.training
    model.eval()
    batches = torch.split(local_shard(indices), batch_size)
    data.expect(batches)
    parts: list[Outputs] = [model(data.pixels(batch)) for batch in batches]
    model.train(was_training)
    return Outputs(*(all_gather(torch.cat(columns), len(indices)) for columns in zip(*parts, strict=True)))


@torch.no_grad()
def class_means(model: Classifier, data: DeviceData, max_samples: int) -> tuple[Tensor, Tensor]:
    """Computes the class means (K, D) of the model's features in eval mode over at most `max_samples` labeled samples,
    and which classes have a sample (K,).
    """
    indices = data.labeled[_evenly(data.labels[data.labeled], max_samples)]
    features_ND = predict(model, data, indices).features
    sums_KD, counts_K = class_sums(features_ND, data.labels[indices], model.clustering.head.out_features)
    return sums_KD / counts_K.clamp_min(1.0).unsqueeze(1), counts_K > 0


def _evenly(labels_N: Tensor, max_samples: int) -> Tensor:
    """Returns the indices of samples taken evenly from each class, at least the first of each."""
    order_N = labels_N.argsort(stable=True)
    sorted_N = labels_N[order_N]
    num_classes = int(sorted_N.diff().count_nonzero()) + 1
    every = -(-len(labels_N) // max(1, max_samples - num_classes)) if len(labels_N) > max_samples else 1
    place_N = torch.arange(len(labels_N), device=labels_N.device) - torch.searchsorted(sorted_N, sorted_N)
    return order_N[place_N % every == 0]


def evaluate(model: nn.Module, data: DeviceData, indices: Tensor, batch_size: int = 1024) -> Evaluation:
    """Evaluates the model in eval mode on these sample indices of `data` against their labels."""
    outputs = predict(model, data, indices, batch_size)
    labels_N, predictions_N = data.labels[indices], outputs.logits.argmax(dim=1)
    correct_N, num_classes = predictions_N == labels_N, outputs.logits.shape[1]
    confusion_KK = torch.bincount(labels_N * num_classes + predictions_N, minlength=num_classes**2)
    balanced_accuracy, f1_macro = balanced_accuracy_and_f1(labels_N.cpu().numpy(), predictions_N.cpu().numpy())
    confidence_N = outputs.assignments.max(dim=1).values.double()
    return Evaluation(
        accuracy=correct_N.double().mean().item(),
        loss=functional.cross_entropy(outputs.logits, labels_N).item(),
        balanced_accuracy=balanced_accuracy,
        f1_macro=f1_macro,
        ece=calibration_error(confidence_N.cpu().numpy(), correct_N.cpu().numpy()),
        confusion=confusion_KK.view(num_classes, num_classes),
        features=outputs.features,
        labels=labels_N,
        predictions=predictions_N,
    )
