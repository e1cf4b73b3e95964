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
    balance_prior,
    clustering_loss,
    gaussian_ramp,
    supervised_loss,
)
from supercm_ray.data import UNLABELED, Batch
from supercm_ray.models import Classifier, Outputs


@dataclass(frozen=True)
class Hyperparameters:
    """The weights used in a step, as scalar tensors on the device. (The temperature is a buffer of the model.)
    `balance_weight` is None where the prior is a part of the clustering loss.
    """

    clustering_weight: Tensor
    consistency_weight: Tensor
    balance_weight: Tensor | None

    @classmethod
    def of(cls, config: AlgorithmConfig, device: torch.device) -> Hyperparameters:
        """Creates the weights of a configuration."""
        clustering = torch.tensor(config.clustering_weight, device=device)
        consistency = torch.tensor(config.consistency_weight, device=device)
        balance = None if config.balance_weight is None else torch.tensor(config.balance_weight, device=device)
        return cls(clustering, consistency, balance)


class StepLoss(nn.Module):
    """Network, centroids and algorithm as one module that maps a batch to its loss and holds all trained parameters.

    Attributes:
        network: the callable that the step's own samples pass through: the model, or its compiled pass.

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
        """Joins the parts.

        Args:
            model: the classifier.
            centroids: the centroids of the clustering loss.
            algorithm: the algorithm, a module from a step to its terms.
            config: the configuration of the run.
            generator: the run's random generator.
        """
        super().__init__()
        self.model, self.algorithm, self.centroids = model, algorithm, centroids
        self.config, self.generator = config, generator
        self.hyper = Hyperparameters.of(config.algorithm, generator.device)
        self.network: Callable[[Tensor], Outputs] = model.__call__

    def forward(self, batch: Batch, progress: float) -> Terms:
        """Computes the loss under `loss`, then the terms it is the weighted sum of: scalars, this worker's part of
        their mean.

        The centroids are updated with the batch first. `progress` is the fraction of training done, in [0, 1).
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
            outputs.logits,
            self.centroids.value,
            balance_alpha=algorithm.balance_alpha if self.hyper.balance_weight is None else 1.0,
            seen=self.centroids.seen,
        )
        step = self.centroids.num_updates
        loss = (
            supervised
            + self.hyper.clustering_weight * gaussian_ramp(step, algorithm.clustering_warmup_steps) * clustering
        )
        for term in terms.values():
            loss = loss + self.hyper.consistency_weight * gaussian_ramp(step, algorithm.consistency_warmup_steps) * term
        if self.hyper.balance_weight is not None:
            terms["balance_prior"] = balance_prior(outputs.logits, algorithm.balance_alpha)
            loss = loss + self.hyper.balance_weight * terms["balance_prior"]
        return {"loss": loss, "supervised": supervised, "clustering": clustering, **terms}

    def _update_centroids(self, batch: Batch, outputs: Outputs) -> None:
        """Updates the centroids with outputs on labeled samples and, if `centroid_mode` says so, on unlabeled ones that
        are predicted with confidence.
        """
        labels = batch.labels
        if self.config.algorithm.centroid_mode == "pseudo_labeled":
            confidence, predicted = outputs.assignments[len(labels) :].detach().max(dim=1)
            confident = confidence > self.config.algorithm.centroid_threshold
            labels = torch.cat([labels, predicted.where(confident, torch.full_like(predicted, UNLABELED))])
        self.centroids.update(outputs.features[: len(labels)], labels)

    @torch.no_grad()
    def _clean_outputs(self, batch: Batch) -> Outputs:
        """Computes outputs in eval mode on the unaugmented samples that the centroids follow."""
        images = batch.labeled_clean
        if self.config.algorithm.centroid_mode == "pseudo_labeled":
            images = torch.cat([images, batch.unlabeled_clean])
        self.model.eval()
        outputs: Outputs = self.model(images)
        self.model.train()
        return outputs
