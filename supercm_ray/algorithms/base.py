"""What a host algorithm is: named loss terms beside cross-entropy and clustering. Shapes: B labeled samples, U
unlabeled samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supercm_ray.config import AlgorithmConfig, Config
from supercm_ray.data import Batch, SampleDraws, strong_view, weak_view
from supercm_ray.errors import StudyError, nearest
from supercm_ray.models import Classifier, Outputs

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """What a host sees of a step.

    Attributes:
        model: the network in training.
        batch: the step's images and labels.
        outputs: of the network on the B labeled samples, then the U unlabeled ones, weakly augmented.
        config: the run's.
        generator: for further views and noise.
        progress: the share of training done, in [0, 1).
    """

    model: Classifier
    batch: Batch
    outputs: Outputs
    config: Config
    generator: torch.Generator
    progress: float

    @property
    def draws(self) -> SampleDraws:
        """Random numbers for the unlabeled samples, which do not depend on the number of workers."""
        return SampleDraws(self.generator, len(self.batch.unlabeled))

    def weak_view(self) -> Tensor:
        """The unlabeled images (U, C, H, W), weakly augmented anew."""
        return weak_view(self.batch.unlabeled_clean, self.config.data, self.draws)

    def strong_view(self) -> Tensor:
        """The unlabeled images (U, C, H, W), strongly augmented."""
        return strong_view(self.batch.unlabeled_clean, self.config.data, self.draws)

    @property
    def unlabeled_logits(self) -> Tensor:
        """Logits (U, K) of the weakly augmented unlabeled samples."""
        return self.outputs.logits[len(self.batch.labels) :]


class Host(nn.Module):
    """A host without state of its own: a function from a step to its terms.

    A host with state is a module like this one, made from (model, config); its parameters are trained and its state
    is saved with the run.
    """

    def __init__(self, terms: Callable[[Step], Terms]) -> None:
        """Args: the function."""
        super().__init__()
        self._terms = terms

    def forward(self, step: Step) -> Terms:
        """Scalar terms by name, each a mean over samples; they are added up and multiplied by the consistency
        weight.
        """
        return self._terms(step)


ALGORITHMS: dict[str, Callable[[Classifier, AlgorithmConfig], nn.Module]] = {}
"""Hosts by name: functions that make one for a network."""


def register(name: str) -> Callable[[Callable[[Step], Terms]], Callable[[Step], Terms]]:
    """Registers a function from a step to its terms as the host of this name."""

    def keep(terms: Callable[[Step], Terms]) -> Callable[[Step], Terms]:
        ALGORITHMS[name] = lambda model, config: Host(terms)
        return terms

    return keep


def build_algorithm(model: Classifier, config: AlgorithmConfig) -> nn.Module:
    """The host that the configuration names."""
    return find_algorithm(config.name)(model, config)


def find_algorithm(name: str) -> Callable[[Classifier, AlgorithmConfig], nn.Module]:
    """What makes the host of this name.

    Raises:
        StudyError: for a name that is not registered.
    """
    if name not in ALGORITHMS:
        raise StudyError(f"`algorithm.name` must be a known algorithm, got {name!r}; {nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Within the block BatchNorm normalises by the batch as in training but does not move its running statistics."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
