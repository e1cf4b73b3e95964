"""An algorithm of your own, here FlexMatch (Zhang et al. 2021, arXiv 2110.08263) without its warm-up.

Name the module in a study file and give the command in its folder:

    base:
      plugins: [flexmatch_plugin]
      algorithm: {name: my_flexmatch, options: {threshold: 0.9}}
    space:
      algorithm.options.threshold: {type: float, low: 0.8, high: 0.99}

Shapes: N unlabeled samples, U of them in a batch, K classes.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from supercm_ray.algorithms import ALGORITHMS, Context, Step, Terms, frozen_statistics
from supercm_ray.config import OptionsModel
from supercm_ray.core import all_gather, world_size


class Options(OptionsModel):
    threshold: float = Field(0.95, ge=0, le=1)
    """Probability, from 0 to 1, above which a prediction is recorded; also the threshold of the class that is learned
    best."""


@ALGORITHMS.register("my_flexmatch", options=Options, requires={"indices", "two_views"})
class FlexMatch(nn.Module):
    recorded: Tensor  # buffers are saved with the run

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.num_classes, self.threshold = context.num_classes, context.options(Options).threshold
        self.register_buffer("recorded", torch.full((context.num_unlabeled,), self.num_classes))  # K for none

    def forward(self, step: Step) -> Terms:
        confidence_U, labels_U = step.unlabeled_logits.detach().softmax(dim=1).max(dim=1)
        selected_U = confidence_U > self.thresholds()[labels_U]
        self.record(step.batch.unlabeled_indices, labels_U.where(confidence_U > self.threshold, self.num_classes))
        with frozen_statistics(step.model):  # an extra pass leaves BatchNorm's averages alone
            strong_UK = step.model(step.strong_view()).logits
        loss_U = functional.cross_entropy(strong_UK, labels_U, reduction="none")
        return {"consistency": (loss_U * selected_U).mean()}

    def thresholds(self) -> Tensor:
        counts = torch.zeros(self.num_classes + 1, device=self.recorded.device)
        counts_K = counts.scatter_add(0, self.recorded, torch.ones_like(self.recorded, dtype=counts.dtype))[:-1]
        share_K = counts_K / counts_K.max().clamp_min(1)
        return self.threshold * share_K / (2 - share_K)

    def record(self, indices_U: Tensor, labels_U: Tensor) -> None:
        num_samples = len(indices_U) * world_size()  # every worker records the samples of all
        indices, labels = all_gather(indices_U, num_samples), all_gather(labels_U, num_samples)
        fresh_N = torch.full_like(self.recorded, self.num_classes).scatter_reduce(0, indices, labels, "amin")
        self.recorded.copy_(fresh_N.where(fresh_N < self.num_classes, self.recorded))
