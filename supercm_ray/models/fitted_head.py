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


class FittedHead(ClusteringModule):
    """A clustering module whose logits are those of a closed-form algorithm, divided by the temperature.

    Without stored samples they are linear in the features, by the weights of `head`. With stored samples they are the
    logarithms of the mean of the targets of the nearest of them, by Euclidean distance; of all, where the targets of
    these are 0.

    Attributes:
        supports: (S, D) features of the stored samples; S is 0 before `set_neighbors` and for a linear head.
        targets: (S, K) their class probabilities, or zeros.
        vote_weights: (N,) weights of the votes of the N nearest, the nearest first.
    """

    supports: Tensor
    targets: Tensor
    vote_weights: Tensor

    def __init__(self, num_features: int, num_classes: int, *, temperature: float = 1.0) -> None:
        """Creates a linear head; arguments and errors are those of `ClusteringModule`."""
        super().__init__(num_features, num_classes, temperature=temperature)
        self.register_buffer("supports", torch.zeros(0, num_features))
        self.register_buffer("targets", torch.zeros(0, num_classes))
        self.register_buffer("vote_weights", torch.zeros(0))

    @torch.no_grad()
    def set_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Sets weight (K, D) and bias (K,) of the linear head."""
        self.head.weight.copy_(weight)
        self.head.bias.copy_(bias)

    def set_neighbors(self, supports: Tensor, targets: Tensor, num_neighbors: int) -> None:
        """Stores samples (S, D) and their class probabilities (S, K), of which the nearest `num_neighbors` vote."""
        self.supports, self.targets = supports.to(self.supports), targets.to(self.targets)
        count = min(num_neighbors, len(supports))
        self.vote_weights = self.vote_weights.new_full((count,), 1.0 / count)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Maps features (B, D) to logits (B, K) and assignments (B, K), both in fp32 or better."""
        if not len(self.supports):
            return super().forward(features)
        logits_BK = self._vote(features) / self.temperature
        return logits_BK, logits_BK.softmax(dim=1)

    def _vote(self, features_BD: Tensor) -> Tensor:
        center_D, doubles_SD = self.supports.double().mean(dim=0), self.supports.double()
        from_BD, to_SD = features_BD.double() - center_D, doubles_SD - center_D
        farness_BS = to_SD.square().sum(dim=1) - 2.0 * from_BD @ to_SD.T  # squared distance, less what all share
        nearest_BN = farness_BS.topk(len(self.vote_weights), dim=1, largest=False).indices
        votes_BK = (self.targets[nearest_BN] * self.vote_weights.unsqueeze(1)).sum(dim=1)
        votes_BK = torch.where(votes_BK.sum(dim=1, keepdim=True) > 0, votes_BK, self.targets.sum(dim=0))
        return (votes_BK / votes_BK.sum(dim=1, keepdim=True)).clamp_min(_LEAST_PROBABILITY).log()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        """Takes as many stored samples as the state has."""
        for name in ("supports", "targets", "vote_weights"):
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if isinstance(saved, Tensor) and saved.shape[1:] == own.shape[1:]:
                setattr(self, name, own.new_empty(saved.shape))
        nn.Module._load_from_state_dict(self, state_dict, prefix, *others)
