"""The head of algorithms that are fitted at once: linear, or a vote of the nearest of stored samples.

Shapes: B samples, S stored samples, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from supercm_ray.core import ClusteringModule

UNSEEN_LOGIT = -1e4
"""The logit of a class that has no labeled sample, so that none is predicted."""

_LEAST_PROBABILITY = 1e-6
_BATCH = 256  # samples whose distances to all stored samples are in memory at a time


class FittedHead(ClusteringModule):
    """A clustering module whose logits are those of a closed-form algorithm, divided by the temperature.

    Without stored samples they are linear in the features, by the weights of `head`. With stored samples they are the
    logarithms of the mean of the targets of the `num_neighbors` nearest, by Euclidean distance; of all, where the
    targets of these are 0.

    Attributes:
        supports: (S, D) features of the stored samples; S is 0 before `set_neighbors` and for a linear head.
        targets: (S, K) their class probabilities, or zeros.
        num_neighbors: how many of them vote.
    """

    supports: Tensor
    targets: Tensor
    num_neighbors: Tensor

    def __init__(self, num_features: int, num_classes: int, *, temperature: float = 1.0) -> None:
        """Creates a linear head; arguments and errors are those of `ClusteringModule`."""
        super().__init__(num_features, num_classes, temperature=temperature)
        self.register_buffer("supports", torch.zeros(0, num_features))
        self.register_buffer("targets", torch.zeros(0, num_classes))
        self.register_buffer("num_neighbors", torch.ones((), dtype=torch.int64))

    @torch.no_grad()
    def set_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Sets weight (K, D) and bias (K,) of the linear head."""
        self.head.weight.copy_(weight)
        self.head.bias.copy_(bias)

    def set_neighbors(self, supports: Tensor, targets: Tensor, num_neighbors: int) -> None:
        """Stores samples (S, D) and their class probabilities (S, K), of which the nearest `num_neighbors` vote."""
        self.supports, self.targets = supports.to(self.supports), targets.to(self.targets)
        self.num_neighbors.fill_(min(num_neighbors, len(supports)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Maps features (B, D) to logits (B, K) and assignments (B, K), both in fp32 or better."""
        if not len(self.supports):
            return super().forward(features)
        logits_BK = torch.cat([self._vote(part) for part in torch.split(features, _BATCH)]) / self.temperature
        return logits_BK, logits_BK.softmax(dim=1)

    def _vote(self, features_BD: Tensor) -> Tensor:
        distances_BS = torch.cdist(features_BD.to(self.supports), self.supports)
        nearest_BN = distances_BS.topk(int(self.num_neighbors), dim=1, largest=False).indices
        votes_BK = self.targets[nearest_BN].sum(dim=1)
        votes_BK = torch.where(votes_BK.sum(dim=1, keepdim=True) > 0, votes_BK, self.targets.sum(dim=0))
        return (votes_BK / votes_BK.sum(dim=1, keepdim=True)).clamp_min(_LEAST_PROBABILITY).log()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        """Takes as many stored samples as the state has."""
        for name in ("supports", "targets"):
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if isinstance(saved, Tensor) and saved.shape[1:] == own.shape[1:]:
                setattr(self, name, own.new_empty(saved.shape))
        nn.Module._load_from_state_dict(self, state_dict, prefix, *others)
