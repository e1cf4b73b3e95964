"""FreeMatch. Shapes: U unlabeled samples of a batch, K classes."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from supercm_ray.algorithms.base import ALGORITHMS, Context, Step, Terms
from supercm_ray.algorithms.pseudo_labels import strong_logits, weighted_cross_entropy
from supercm_ray.config import OptionsModel
from supercm_ray.core import all_reduce_sum, world_size


class FreeMatchOptions(OptionsModel):
    """Options of `freematch`."""

    decay: float = Field(0.999, ge=0, lt=1)
    """Decay per step of the moving averages of confidence, predictions and predicted classes, from 0 to below 1."""
    fairness_weight: float = Field(0.01, ge=0)
    """Weight, from 0, of the fairness term relative to the consistency term."""


@ALGORITHMS.register("freematch", options=FreeMatchOptions, requires={"unlabeled", "two_views"})
class FreeMatch(nn.Module):
    """FreeMatch: FixMatch with a threshold for each class that follows the network's confidence, and a fairness term.

    The threshold of a class is the moving average of confidence, times the moving average of the class's probability
    divided by that of the most probable class.

    Source: Wang et al. 2023, "FreeMatch" (arXiv 2205.07246), equations 5 to 12.
    """

    confidence: Tensor
    class_mean: Tensor
    histogram: Tensor

    def __init__(self, context: Context) -> None:
        """Creates the averages for the number of classes in `context`."""
        super().__init__()
        self._options = context.options(FreeMatchOptions)
        uniform_K = torch.full((context.num_classes,), 1.0 / context.num_classes)
        self.register_buffer("confidence", uniform_K[0].clone())
        self.register_buffer("class_mean", uniform_K)
        self.register_buffer("histogram", uniform_K.clone())

    def forward(self, step: Step) -> Terms:
        """Updates the averages with the batch, then computes both terms."""
        probability_UK = step.unlabeled_logits.detach().softmax(dim=1)
        confidence_U, labels_U = probability_UK.max(dim=1)
        self._follow(probability_UK)
        threshold_K = self.confidence * self.class_mean / self.class_mean.max()
        selected_U = confidence_U > threshold_K[labels_U]
        logits_UK = strong_logits(step)
        return {
            "consistency": weighted_cross_entropy(logits_UK, labels_U, selected_U),
            "fairness": self._options.fairness_weight * self._fairness(logits_UK.softmax(dim=1), selected_U),
        }

    def _follow(self, probability_UK: Tensor) -> None:
        """Moves the averages towards the means over the samples of all workers."""
        own = torch.cat([probability_UK.amax(dim=1, keepdim=True), probability_UK, _one_hot(probability_UK)], dim=1)
        means = (all_reduce_sum(own.mean(dim=0)) / world_size()).to(self.class_mean.dtype)
        class_mean_K, histogram_K = means[1:].chunk(2)
        gain = 1.0 - self._options.decay
        self.confidence.lerp_(means[0], gain)
        self.class_mean.lerp_(class_mean_K, gain)
        self.histogram.lerp_(histogram_K, gain)

    def _fairness(self, probability_UK: Tensor, selected_U: Tensor) -> Tensor:
        """Computes the negative cross-entropy between the average prediction and that for the selected strong views of
        the batch, both divided by the histogram of predicted classes and normalised. Classes that no selected strong
        view is predicted as have no quotient and are left out.
        """
        own = torch.cat([probability_UK, _one_hot(probability_UK)], dim=1) * selected_U.unsqueeze(1)
        sums_K, counts_K = all_reduce_sum(own.sum(dim=0)).chunk(2)
        found_K = counts_K > 0
        ratio_K = (sums_K / counts_K.clamp_min(1.0)).where(found_K, 0.0)
        batch_K = ratio_K / ratio_K.sum().clamp_min(torch.finfo(ratio_K.dtype).tiny)
        average_K = self.class_mean / self.histogram.clamp_min(torch.finfo(self.histogram.dtype).eps)
        average_K = average_K / average_K.sum()
        fairness: Tensor = (average_K * batch_K.where(found_K, 1.0).log()).sum()
        return fairness


def _one_hot(probability_UK: Tensor) -> Tensor:
    """Returns 1 at the most probable class of each sample and 0 elsewhere, without synchronising the device."""
    classes_K = torch.arange(probability_UK.shape[1], device=probability_UK.device)
    return (probability_UK.argmax(dim=1, keepdim=True) == classes_K).to(probability_UK.dtype)
