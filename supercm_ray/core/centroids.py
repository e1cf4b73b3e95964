"""Centroids: the position of each class in feature space, computed from labels or learned by gradient.

Shapes: B samples, D features, K classes. Source: Singh et al. 2023 (arXiv 2506.23824), 2025 (arXiv 2507.13779).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from supercm_ray.core.distributed import all_reduce_sum

CentroidRule = Literal["running_mean", "class_count", "ema"]


class RunningCentroids(nn.Module):
    """Centroids (K, D) that follow the means of labeled features, by one of three rules.

    Every rule is `mu_k += gain_k (mean_k - mu_k)` for the classes present in the batch:

    - `running_mean`: gain 1/t with t the number of updates so far, for all classes alike, from mu = 0. This is the
      published rule. It never forgets, and it shortens the centroids of rare classes.
    - `class_count`: gain 1/n_k with n_k the number of updates in which class k was present.
    - `ema`: gain (1 - d) / (1 - d^n_k), the bias-corrected exponential moving average with decay d.

    A class absent from a batch keeps its centroid. One that has had no labeled sample yet is false in `seen`, and its
    centroid stays at the origin; `clustering_loss(seen=...)` leaves it out of the distortion, though not out of the
    balance prior. All state is in buffers, so it is saved with the model.

    Note:
        In the published code a class never seen attracts samples to its zero centroid. Here it does so only for those
        who do not pass `seen` to `clustering_loss`.
    """

    value: Tensor
    weight: Tensor
    num_updates: Tensor

    def __init__(
        self, num_features: int, num_classes: int, *, rule: CentroidRule = "running_mean", decay: float = 0.99
    ) -> None:
        """Creates centroids at the origin.

        Args:
            num_features: D, the feature dimension.
            num_classes: K, the number of classes.
            rule: how the centroids follow the class means.
            decay: decay per update of the rule `ema`, in [0, 1).

        Raises:
            ValueError: for an unknown rule or a decay out of range.
        """
        super().__init__()
        if rule not in get_args(CentroidRule):
            raise ValueError(f"rule must be one of {get_args(CentroidRule)}, got rule={rule!r}")
        if not 0 <= decay < 1:
            raise ValueError(f"`0 <= decay < 1` must hold, got decay={decay}")
        self.rule: CentroidRule = rule
        self.decay = decay
        self.register_buffer("value", torch.zeros(num_classes, num_features))
        self.register_buffer("weight", torch.zeros(num_classes))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @property
    def seen(self) -> Tensor:
        """(K,) booleans: the classes that have had a labeled sample."""
        return self.weight > 0

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Moves the centroids towards the class means of features (B, D) under labels (B,), without gradient.

        Samples whose label lies outside [0, K), such as -1, are ignored. On several workers the sums and counts of all
        are added up before they are divided, so every worker must call this.
        """
        sums_KD, counts_K = class_sums(features, labels, self.value.shape[0])
        together = all_reduce_sum(torch.cat([sums_KD, counts_K.unsqueeze(1)], dim=1))
        self.update_from_sums(together[:, :-1], together[:, -1])

    @torch.no_grad()
    def update_from_sums(self, sums: Tensor, counts: Tensor) -> None:
        """Moves the centroids towards class means, given as class sums (K, D) and counts (K,), without gradient."""
        sums_KD, counts_K = sums.to(self.value.dtype), counts.to(self.value.dtype)
        present_K = counts_K > 0
        mean_KD = sums_KD / counts_K.clamp_min(1.0).unsqueeze(1)
        self.num_updates += 1
        keep = self.decay if self.rule == "ema" else 1.0
        gained = 1.0 - self.decay if self.rule == "ema" else 1.0
        weight_K = torch.where(present_K, keep * self.weight + gained, self.weight)
        denominator_K = self.num_updates.to(weight_K.dtype) if self.rule == "running_mean" else weight_K
        gain_K = torch.where(present_K, gained / denominator_K, 0.0)
        self.value += gain_K.unsqueeze(1) * (mean_KD - self.value)
        self.weight.copy_(weight_K)


class LearnedCentroids(nn.Module):
    """Centroids (K, D) that are parameters, trained by the clustering loss: the mode `lcen` of the published code.

    They stand in for `RunningCentroids`: every class counts as seen, and labels do not move them.
    """

    num_updates: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        """Creates random centroids with lengths of about one.

        Args:
            num_features: D, the feature dimension.
            num_classes: K, the number of classes.
        """
        super().__init__()
        self.value = nn.Parameter(torch.randn(num_classes, num_features) / num_features**0.5)
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @property
    def seen(self) -> Tensor:
        """(K,) booleans, all true."""
        return torch.ones(len(self.value), dtype=torch.bool, device=self.value.device)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Counts the step; the centroids are moved by the optimizer alone."""
        self.num_updates += 1


@torch.no_grad()
def class_sums(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Computes sums (K, D) of features (B, D) by class and the counts (K,), in fp32 or better, without device sync."""
    dtype = torch.promote_types(features.dtype, torch.float32)
    classes_K = torch.arange(num_classes, device=labels.device)
    one_hot_BK = (labels.unsqueeze(1) == classes_K).to(dtype)
    with torch.autocast(features.device.type, enabled=False):
        return one_hot_BK.T @ features.to(dtype), one_hot_BK.sum(dim=0)
