"""SoftMatch. Shapes: U unlabeled samples of a batch, K classes."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from supercm_ray.algorithms.base import ALGORITHMS, Context, Step, Terms
from supercm_ray.algorithms.pseudo_labels import strong_logits, weighted_cross_entropy
from supercm_ray.config import OptionsModel
from supercm_ray.core import all_reduce_sum, world_size


class SoftMatchOptions(OptionsModel):
    """Options of `softmatch`."""

    decay: float = Field(0.999, ge=0, lt=1)
    """Decay per step of the moving averages of confidence, its variance, and the predictions' distribution over
    classes, from 0 to below 1."""
    uniform_alignment: bool = True
    """Whether samples are weighted by predictions that are rescaled so that all classes are predicted equally often on
    average."""


@ALGORITHMS.register("softmatch", options=SoftMatchOptions, requires={"unlabeled", "two_views"})
class SoftMatch(nn.Module):
    """SoftMatch: FixMatch with a weight for each sample in place of a threshold.

    The weight is 1 from the mean confidence on, and `exp(-(confidence - mean)^2 / (2 variance))` below it. Mean and
    variance are moving averages over steps. Confidence is that of the aligned prediction; the label is that of the
    prediction itself.

    Source: Chen et al. 2023, "SoftMatch" (arXiv 2301.10921), equations 5 to 10.
    """

    mean: Tensor
    variance: Tensor
    class_mean: Tensor

    def __init__(self, context: Context) -> None:
        """Creates the averages for the number of classes in `context`."""
        super().__init__()
        self._options = context.options(SoftMatchOptions)
        self.register_buffer("mean", torch.tensor(1.0 / context.num_classes))
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer("class_mean", torch.full((context.num_classes,), 1.0 / context.num_classes))

    def forward(self, step: Step) -> Terms:
        """Updates the averages with the batch, then computes the term."""
        probability_UK = step.unlabeled_logits.detach().softmax(dim=1)
        labels_U = probability_UK.argmax(dim=1)
        confidence_U = self._align(probability_UK).amax(dim=1)
        self._follow(confidence_U)
        below_U = (confidence_U - self.mean).clamp_max(0.0)
        weight_U = torch.exp(-below_U.square() / (2.0 * self.variance.clamp_min(torch.finfo(below_U.dtype).tiny)))
        return {"consistency": weighted_cross_entropy(strong_logits(step), labels_U, weight_U)}

    def _align(self, probability_UK: Tensor) -> Tensor:
        """Divides predictions by their average over samples and steps, and normalises them."""
        if not self._options.uniform_alignment:
            return probability_UK
        mean_K = all_reduce_sum(probability_UK.mean(dim=0)) / world_size()
        self.class_mean.lerp_(mean_K.to(self.class_mean.dtype), 1.0 - self._options.decay)
        ratio_UK = probability_UK / self.class_mean.clamp_min(torch.finfo(self.class_mean.dtype).eps)
        return ratio_UK / ratio_UK.sum(dim=1, keepdim=True)

    def _follow(self, confidence_U: Tensor) -> None:
        """Moves the averages towards mean and unbiased variance over the samples of all workers."""
        num_samples = len(confidence_U) * world_size()
        mean = all_reduce_sum(confidence_U.sum()) / num_samples
        variance = all_reduce_sum((confidence_U - mean).square().sum()) / max(num_samples - 1, 1)
        self.mean.lerp_(mean.to(self.mean.dtype), 1.0 - self._options.decay)
        self.variance.lerp_(variance.to(self.variance.dtype), 1.0 - self._options.decay)
