"""One training step of SuperCM as a plain loop, written from the published equations and recipe: eager, fp32, images in
the default memory format, a second forward pass of the labeled samples in eval mode for the centroids, a loop over
classes, a loop over parameters for the average, torch's default Adam. No part is slower than its plain form.

Shapes: B labeled samples, then U unlabeled ones, N of both; D features, K classes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from supercm_ray.models import Classifier


class ReferenceLoop:
    """Network, centroids and moving average of a run, and its step."""

    def __init__(self, model: Classifier, clustering_weight: float, learning_rate: float, ema_decay: float) -> None:
        """Stores the network with fresh weights, which is trained, and the recipe's three numbers."""
        self.model, self.average = model, copy.deepcopy(model)
        head = model.clustering.head
        self.centroids_KD = torch.zeros(head.out_features, head.in_features, device=head.weight.device)
        self.clustering_weight, self.ema_decay = clustering_weight, ema_decay
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        self.num_steps = 0

    def step(self, labeled: Tensor, labels: Tensor, unlabeled: Tensor) -> Tensor:
        """Takes one optimizer step and returns the loss, without gradient."""
        self.num_steps += 1
        self._update_centroids(labeled, labels)
        self.model.train()
        features, logits, assignments = self.model(torch.cat([labeled, unlabeled]))
        supervised = functional.cross_entropy(logits[: len(labels)], labels, reduction="sum") / len(logits)
        loss = supervised + self.clustering_weight * self._clustering(features, assignments)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._update_average()
        return loss.detach()

    @torch.no_grad()
    def _update_centroids(self, labeled: Tensor, labels: Tensor) -> None:
        self.model.eval()
        features_BD = self.model(labeled).features
        for k in range(len(self.centroids_KD)):
            of_class = labels == k
            if of_class.any():
                mean_D = features_BD[of_class].mean(dim=0)
                self.centroids_KD[k] = (mean_D + (self.num_steps - 1) * self.centroids_KD[k]) / self.num_steps

    def _clustering(self, x_ND: Tensor, g_NK: Tensor) -> Tensor:
        """Computes E1 + E2 + E3; E4 is switched off in the recipe."""
        mu_KD = self.centroids_KD
        inner_KK = mu_KD @ mu_KD.T
        reconstruction = (x_ND - g_NK @ mu_KD).square().sum()
        sparsity = ((g_NK * (1 - g_NK)).sum(dim=0) * inner_KK.diagonal()).sum()
        overlap = -((g_NK @ (inner_KK - inner_KK.diagonal().diag())) * g_NK).sum()
        return (reconstruction + sparsity + overlap) / x_ND.numel()

    @torch.no_grad()
    def _update_average(self) -> None:
        for ours, theirs in zip(self.average.parameters(), self.model.parameters(), strict=True):
            ours.mul_(self.ema_decay).add_(theirs, alpha=1 - self.ema_decay)
