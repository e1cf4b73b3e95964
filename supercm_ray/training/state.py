"""The state of a training run between two steps."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from supercm_ray.algorithms import build_algorithm
from supercm_ray.config import AlgorithmConfig, Config
from supercm_ray.core import LearnedCentroids, RunningCentroids, world_size
from supercm_ray.data import Dataset
from supercm_ray.models import Classifier, build_classifier, synchronise_batch_norm
from supercm_ray.training.optimizers import build_optimizer, load_moments
from supercm_ray.training.speed import choose_speed, compiled_pass
from supercm_ray.training.step import StepLoss

StateDict: TypeAlias = dict[str, Any]
"""A state dict as torch saves it: nested mappings of tensors and plain values by name."""


@dataclass
class TrainState:
    """Network, its moving average, centroids, optimizer, random generator, and progress of a run.

    Attributes:
        step: optimizer steps done.
        history: one mapping of metric names to numbers for each epoch done, with the key `epoch` from 1.
    """

    config: Config
    device: torch.device
    model: Classifier
    ema_model: Classifier
    centroids: RunningCentroids | LearnedCentroids
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    algorithm: nn.Module
    step_loss: nn.Module
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def create(cls, config: Config, dataset: Dataset, device: torch.device, num_unlabeled: int = 0) -> TrainState:
        """Creates a new run, whose weights, batches and augmentation follow from `config.seed` alone.

        If torch.distributed is initialised, the run is shared by all workers, who must all call this.

        Args:
            config: the configuration of the run.
            dataset: the data set, for the shape of its images and its number of classes.
            device: the device to train on.
            num_unlabeled: number of unlabeled samples, for an algorithm that keeps something for each.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = build_classifier(config, dataset).to(device)
            if world_size() > 1 and config.training.sync_batch_norm:
                synchronise_batch_norm(model)
            if config.training.channels_last:
                model.to(memory_format=torch.channels_last)
            algorithm = build_algorithm(model, config, num_unlabeled).to(device)
            centroids = _centroids(model, config.algorithm).to(device)
        generator = torch.Generator(device).manual_seed(config.seed)
        speed = choose_speed(config, model, dataset.shape, device)
        ema_model = copy.deepcopy(model).requires_grad_(False).eval()  # stays plain, to be evaluated and exported
        model.low_precision = speed.bf16
        step_loss = StepLoss(model, centroids, algorithm, config, generator)
        if speed.compiled:
            step_loss.network = compiled_pass(model)
        return cls(
            config=config,
            device=device,
            model=model,
            ema_model=ema_model,
            centroids=centroids,
            optimizer=build_optimizer(step_loss, model.trunk, config.training),
            generator=generator,
            algorithm=algorithm,
            step_loss=_data_parallel(step_loss),
        )

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return len(self.history)

    @property
    def progress(self) -> float:
        """Fraction of training done, in [0, 1)."""
        training = self.config.training
        return self.step / (training.num_epochs * training.steps_per_epoch)

    def state_dict(self) -> StateDict:
        """Returns the state as tensors and plain values, all of which load with `weights_only=True`."""
        return {
            "model": self.model.state_dict(),
            "ema_model": self.ema_model.state_dict(),
            "centroids": self.centroids.state_dict(),
            "algorithm": self.algorithm.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": {self.device.type: self.generator.get_state()},
            "step": self.step,
            "history": self.history,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restores a state saved under the same configuration. If it was saved on another kind of device, its random
        numbers continue from seed and step.

        Raises:
            ValueError: for steps, metrics or moments that no run of this configuration leaves.
        """
        step, history = state["step"], state["history"]
        _check_progress(step, history, self.config)
        self.model.load_state_dict(state["model"])
        self.ema_model.load_state_dict(state["ema_model"])
        self.centroids.load_state_dict(state["centroids"])
        self.algorithm.load_state_dict(state["algorithm"])
        has_stepped = step > 0 and not self.config.algorithm.closed_form
        load_moments(self.optimizer, state["optimizer"]["state"], begun=has_stepped)
        generators = state["generator"]
        if self.device.type in generators:
            self.generator.set_state(generators[self.device.type])
        else:
            self.generator.manual_seed(self.config.seed * 1_000_003 + step)
        self.step, self.history = step, history


def _data_parallel(step_loss: StepLoss) -> nn.Module:
    """Averages the loss's gradients over the workers. Buffers are not broadcast: centroids and synchronised statistics
    are computed from all workers' samples and equal everywhere.
    """
    if world_size() == 1:
        return step_loss
    return DistributedDataParallel(step_loss, broadcast_buffers=False, gradient_as_bucket_view=True)


def _check_progress(step: object, history: object, config: Config) -> None:
    """Checks that `step` and `history` are possible for a run of this configuration."""
    training = config.training
    if not isinstance(history, list) or len(history) > training.num_epochs:
        raise ValueError(f"its history is no list of at most {training.num_epochs} epochs")
    for epoch, metrics in enumerate(history, start=1):
        values = metrics.values() if isinstance(metrics, dict) else [None]
        if not all(isinstance(value, int | float) for value in values) or metrics.get("epoch") != epoch:
            raise ValueError(f"its history has no metrics of epoch {epoch}")
    if step != len(history) * training.steps_per_epoch:
        raise ValueError(f"{step!r} steps do not make {len(history)} epochs of {training.steps_per_epoch}")


def choose_device(name: str) -> torch.device:
    """Returns the device that `training.device` names; `auto` is a GPU if one is visible to this process."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def _centroids(model: Classifier, config: AlgorithmConfig) -> RunningCentroids | LearnedCentroids:
    head = model.clustering.head
    if config.centroid_mode == "learned":
        return LearnedCentroids(head.in_features, head.out_features)
    return RunningCentroids(head.in_features, head.out_features, rule=config.centroid_rule, decay=config.centroid_decay)
