"""The loss of one step: everything between a batch and the backward pass. Shapes: B labeled, U unlabeled samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supercm_ray.algorithms import Step, Terms
from supercm_ray.config import AlgorithmConfig, Config
from supercm_ray.core import (
    LearnedCentroids,
    RunningCentroids,
    clustering_loss,
    gaussian_ramp,
    supervised_loss,
)
from supercm_ray.data import HIDDEN_LABEL, Batch
from supercm_ray.models import Classifier, Outputs


@dataclass(frozen=True)
class Hyperparameters:
    """The weights that enter a step, as scalar tensors on the device. (The temperature is the model's buffer.)"""

    clustering_weight: Tensor
    consistency_weight: Tensor

    @classmethod
    def of(cls, config: AlgorithmConfig, device: torch.device) -> Hyperparameters:
        """The weights of a configuration."""
        weights = (config.clustering_weight, config.consistency_weight)
        return cls(*(torch.tensor(weight, device=device) for weight in weights))


class StepLoss(nn.Module):
    """Network, centroids and algorithm as one module, from a batch to its loss, in which all that is trained lies.

    On several workers DistributedDataParallel wraps it. All passes through the network, the algorithm's too, happen
    inside, so the reducer sees one forward and one backward a step, whatever the algorithm does.
    """

    def __init__(
        self,
        model: Classifier,
        centroids: RunningCentroids | LearnedCentroids,
        algorithm: nn.Module,
        config: Config,
        generator: torch.Generator,
    ) -> None:
        """Args: the parts, the run's configuration and the generator of its random numbers.

        `network`, through which the step's own samples pass, is the model unless something equal is put in its place.
        """
        super().__init__()
        self.model, self.algorithm, self.centroids = model, algorithm, centroids
        self.config, self.generator = config, generator
        self.hyper = Hyperparameters.of(config.algorithm, generator.device)
        self.network: Callable[[Tensor], Outputs] = model.__call__

    def forward(self, batch: Batch, progress: float) -> Terms:
        """The loss under `loss`, then the terms it is the weighted sum of: scalars, this worker's part of their mean.

        The centroids follow the batch first. `progress` is the share of training done, in [0, 1).
        """
        algorithm = self.config.algorithm
        extra_pass = algorithm.centroid_source == "eval_pass" and algorithm.centroid_mode != "learned"
        if extra_pass:
            self._update_centroids(batch, self._clean_outputs(batch))
        outputs = self.network(torch.cat([batch.labeled, batch.unlabeled]))
        if not extra_pass:
            self._update_centroids(batch, outputs)

        num_labeled, num_samples = len(batch.labels), len(outputs.logits)
        over_all = algorithm.loss_reduction == "all_samples"
        supervised = supervised_loss(outputs.logits[:num_labeled], batch.labels) * (
            num_labeled / num_samples if over_all else 1
        )
        terms: Terms = self.algorithm(Step(self.model, batch, outputs, self.config, self.generator, progress))
        terms = {name: term * (1 - num_labeled / num_samples if over_all else 1) for name, term in terms.items()}
        clustering = clustering_loss(
            outputs.features,
            outputs.assignments,
            self.centroids.value,
            balance_alpha=algorithm.balance_alpha,
            seen=self.centroids.seen,
        )
        step = self.centroids.num_updates
        loss = (
            supervised
            + self.hyper.clustering_weight * gaussian_ramp(step, algorithm.clustering_warmup_steps) * clustering
        )
        for term in terms.values():
            loss = loss + self.hyper.consistency_weight * gaussian_ramp(step, algorithm.consistency_warmup_steps) * term
        return {"loss": loss, "supervised": supervised, "clustering": clustering, **terms}

    def _update_centroids(self, batch: Batch, outputs: Outputs) -> None:
        """Moves the centroids by outputs on labeled samples, and on unlabeled ones too where the mode takes them and
        they are predicted with confidence.
        """
        labels = batch.labels
        if self.config.algorithm.centroid_mode == "pseudo_labeled":
            confidence, predicted = outputs.assignments[len(labels) :].detach().max(dim=1)
            confident = confidence > self.config.algorithm.centroid_threshold
            labels = torch.cat([labels, predicted.where(confident, torch.full_like(predicted, HIDDEN_LABEL))])
        self.centroids.update(outputs.features[: len(labels)], labels)

    @torch.no_grad()
    def _clean_outputs(self, batch: Batch) -> Outputs:
        """Outputs on the samples that the centroids follow, as they are, in eval mode, as evaluation will see them."""
        images = batch.labeled_clean
        if self.config.algorithm.centroid_mode == "pseudo_labeled":
            images = torch.cat([images, batch.unlabeled_clean])
        self.model.eval()
        outputs: Outputs = self.model(images)
        self.model.train()
        return outputs
