"""FlexMatch. Shapes: N unlabeled samples of the data set, U of a batch, K classes."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from supercm_ray.algorithms.base import ALGORITHMS, Context, Step, Terms
from supercm_ray.algorithms.pseudo_labels import strong_logits, weighted_cross_entropy
from supercm_ray.config import OptionsModel
from supercm_ray.core import all_gather, world_size

_NONE = -1


class FlexMatchOptions(OptionsModel):
    """Options of `flexmatch`."""

    threshold: float = Field(0.95, ge=0, le=1)
    """Probability, from 0 to 1, above which a prediction is recorded; also the threshold of the class that is learned
    best."""
    warm_up: bool = True
    """Whether to compare the recorded predictions of a class with the number of samples without one, while those are
    the majority; thresholds then start low."""


@ALGORITHMS.register("flexmatch", options=FlexMatchOptions, requires={"unlabeled", "two_views", "indices"})
class FlexMatch(nn.Module):
    """FlexMatch: FixMatch with a threshold for each class, lower for classes that are learned less.

    The last class that was predicted with confidence is recorded for each of the N unlabeled samples. The number of
    records of a class, s_k, measures how far it is learned: `b_k = s_k / max s`, and its threshold is
    `threshold * b_k / (2 - b_k)`. With the warm-up the maximum includes the number of samples without a record.

    Source: Zhang et al. 2021, "FlexMatch" (arXiv 2110.08263), equations 5 to 11 and algorithm 1.
    """

    recorded: Tensor

    def __init__(self, context: Context) -> None:
        """Creates empty records for the numbers of classes and unlabeled samples in `context`."""
        super().__init__()
        self._options, self._num_classes = context.options(FlexMatchOptions), context.num_classes
        self.register_buffer("recorded", torch.full((context.num_unlabeled,), _NONE))

    def forward(self, step: Step) -> Terms:
        """Computes the term with the thresholds left by the batches before, then records this batch."""
        probability_UK = step.unlabeled_logits.detach().softmax(dim=1)
        confidence_U, labels_U = probability_UK.max(dim=1)
        selected_U = confidence_U > self.thresholds().to(confidence_U.dtype)[labels_U]
        self._record(step.batch.unlabeled_indices, labels_U.where(confidence_U > self._options.threshold, _NONE))
        return {"consistency": weighted_cross_entropy(strong_logits(step), labels_U, selected_U)}

    def thresholds(self) -> Tensor:
        """Computes the threshold (K,) of each class."""
        counts = torch.zeros(self._num_classes + 1, dtype=torch.int64, device=self.recorded.device)
        counts.scatter_add_(0, self.recorded + 1, torch.ones_like(self.recorded))
        unrecorded, counts_K = counts[0], counts[1:]
        most = torch.maximum(counts_K.max(), unrecorded) if self._options.warm_up else counts_K.max()
        learned_K = counts_K / most.clamp_min(1)
        return self._options.threshold * learned_K / (2.0 - learned_K)

    def _record(self, indices_U: Tensor, labels_U: Tensor) -> None:
        """Records the labels of all workers' samples; -1 keeps the record of a sample. A sample that occurs twice in a
        batch gets the larger label, so that the result does not depend on an order.
        """
        num_samples = len(indices_U) * world_size()
        indices, labels = all_gather(indices_U, num_samples), all_gather(labels_U, num_samples)
        fresh_N = torch.full_like(self.recorded, _NONE).scatter_reduce_(0, indices, labels, "amax")
        self.recorded.copy_(fresh_N.where(fresh_N != _NONE, self.recorded))
