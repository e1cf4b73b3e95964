"""Everything that a training run is between two steps."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from supercm_ray.algorithms import build_algorithm
from supercm_ray.config import AlgorithmConfig, Config
from supercm_ray.core import LearnedCentroids, RunningCentroids
from supercm_ray.data import Dataset
from supercm_ray.models import Classifier, build_classifier


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


@dataclass
class TrainState:
    """Network, its moving average, centroids, optimizer, random generator, and how far the run has come.

    Attributes:
        step: optimizer steps done.
        history: one mapping of metric names to numbers for each epoch done, with the key `epoch` from 1.
    """

    config: Config
    device: torch.device
    model: Classifier
    average: Classifier
    centroids: RunningCentroids | LearnedCentroids
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    hyper: Hyperparameters
    algorithm: nn.Module
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def create(cls, config: Config, dataset: Dataset, device: torch.device) -> TrainState:
        """A fresh run: weights, batches and augmentation follow from `config.seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = build_classifier(config, dataset).to(device)
            algorithm = build_algorithm(model, config.algorithm).to(device)
            centroids = _centroids(model, config.algorithm).to(device)
        return cls(
            config=config,
            device=device,
            model=model,
            average=copy.deepcopy(model).requires_grad_(False).eval(),
            centroids=centroids,
            optimizer=_optimizer(nn.ModuleList([model, algorithm, centroids]), config),
            generator=torch.Generator(device).manual_seed(config.seed),
            hyper=Hyperparameters.of(config.algorithm, device),
            algorithm=algorithm,
        )

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def progress(self) -> float:
        """The share of training done, in [0, 1)."""
        training = self.config.training
        return self.step / (training.num_epochs * training.steps_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values, all of which load with `weights_only=True`."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "centroids": self.centroids.state_dict(),
            "algorithm": self.algorithm.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state saved under the same configuration."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.centroids.load_state_dict(state["centroids"])
        self.algorithm.load_state_dict(state["algorithm"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.history = state["step"], state["history"]


def choose_device(name: str) -> torch.device:
    """The device that `training.device` names; `auto` is a GPU where one is visible to this process."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _centroids(model: Classifier, config: AlgorithmConfig) -> RunningCentroids | LearnedCentroids:
    head = model.clustering.head
    if config.centroid_mode == "learned":
        return LearnedCentroids(head.in_features, head.out_features)
    return RunningCentroids(head.in_features, head.out_features, rule=config.centroid_rule, decay=config.centroid_decay)


def _optimizer(trained: nn.Module, config: Config) -> torch.optim.Optimizer:
    training = config.training
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)
