"""The interface of algorithms: named loss terms besides cross-entropy and clustering. Shapes: B labeled samples, U
unlabeled samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supercm_ray.config import Config, OptionsModel, Registry
from supercm_ray.data import Batch, SampleDraws, strong_view, weak_view
from supercm_ray.models import Classifier, Outputs

Terms = dict[str, Tensor]
O = TypeVar("O", bound=OptionsModel)  # noqa: E741 (the options of an algorithm)


@dataclass(frozen=True)
class Step:
    """The inputs of an algorithm in one step.

    Attributes:
        model: the network in training.
        batch: the step's images, labels and sample indices.
        outputs: outputs of the network on the B labeled samples, then the U unlabeled ones, weakly augmented.
        config: the configuration of the run.
        generator: the run's random generator, for further views and noise.
        progress: the fraction of training done, in [0, 1).
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

    @property
    def number(self) -> int:
        """Number of steps done before this one."""
        training = self.config.training
        return round(self.progress * training.num_epochs * training.steps_per_epoch)

    def options(self, model: type[O]) -> O:
        """Returns the algorithm's options, which must be an instance of `model`."""
        return _options(self.config, model)

    def weak_view(self) -> Tensor:
        """Draws a new weakly augmented view of the unlabeled images (U, C, H, W)."""
        return weak_view(self.batch.unlabeled_clean, self.config.data, self.draws, self.model.std)

    def strong_view(self) -> Tensor:
        """Draws a strongly augmented view of the unlabeled images (U, C, H, W)."""
        return strong_view(self.batch.unlabeled_clean, self.config.data, self.draws, self.model.std)

    @property
    def unlabeled_logits(self) -> Tensor:
        """Logits (U, K) of the weakly augmented unlabeled samples."""
        return self.outputs.logits[len(self.batch.labels) :]


@dataclass(frozen=True)
class Context:
    """The inputs from which an algorithm with a state is created.

    Attributes:
        model: the network with its initial weights.
        config: the configuration of the run.
        num_unlabeled: number of unlabeled samples. `Batch.unlabeled_indices` lie in [0, num_unlabeled).
    """

    model: Classifier
    config: Config
    num_unlabeled: int

    @property
    def num_features(self) -> int:
        """Dimension of the features."""
        return self.model.clustering.head.in_features

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return self.model.clustering.head.out_features

    def options(self, model: type[O]) -> O:
        """Returns the algorithm's options, which must be an instance of `model`."""
        return _options(self.config, model)


def _options(config: Config, model: type[O]) -> O:
    options = config.algorithm.options
    assert isinstance(options, model), f"{config.algorithm.name} has options of {type(options).__name__}"
    return options


class FunctionAlgorithm(nn.Module):
    """An algorithm without a state: a function from a step to its terms."""

    def __init__(self, terms: Callable[[Step], Terms]) -> None:
        """Wraps `terms`, a function from a step to its terms."""
        super().__init__()
        self._terms = terms

    def forward(self, step: Step) -> Terms:
        """Computes the terms."""
        return self._terms(step)


Algorithm = Callable[[Step], Terms] | type[nn.Module]

ALGORITHMS: Registry[Algorithm] = Registry("algorithm", "algorithm.name", "supercm_ray.algorithms")
"""Algorithms by name, each with the model of its options and what it requires.

An algorithm is a function from a `Step` to its terms or, if it has a state, a module created from a `Context` whose
`forward` is such a function. A module's parameters are trained and its buffers are saved with the run. On several
workers the buffers must be equal on every worker, for which they are computed from sums over all of them
(`all_reduce_sum`, `all_gather`).

Terms are scalars by name, each this worker's part of a mean over samples. They are added up and multiplied by
`algorithm.consistency_weight`; an algorithm that weighs several terms multiplies each by an option of its own.

`requires` is made of these words, of which the first four imply unlabeled samples:

- `unlabeled`: unlabeled samples in every batch;
- `two_views`: augmentation that makes two views of a sample differ;
- `indices`: `Context.num_unlabeled` and `Batch.unlabeled_indices`, for algorithms that store values by sample;
- `target`: a target domain;
- `fixed_features`: a network whose features training does not change. The algorithm is a `ClosedForm`, which fits the
  head at once and has no terms.
"""

NEEDS = frozenset({"unlabeled", "two_views", "indices", "target", "fixed_features"})
"""The words that `requires` may contain."""


def build_algorithm(model: Classifier, config: Config, num_unlabeled: int = 0) -> nn.Module:
    """Creates the algorithm that the configuration names.

    Args:
        model: the network with its initial weights.
        config: the configuration of the run.
        num_unlabeled: number of unlabeled samples, for an algorithm that requires `indices`.

    Raises:
        StudyError: for a name that is not registered.
        ValueError: if the algorithm requires `indices` and no number is given.
    """
    entry = ALGORITHMS.find(config.algorithm.name)
    if "indices" in entry.requires and num_unlabeled < 1:
        raise ValueError(f"`num_unlabeled >= 1` must hold for {entry.name}, got {num_unlabeled}")
    if isinstance(entry.make, type):
        module: nn.Module = entry.make(Context(model, config, num_unlabeled))
        return module
    return FunctionAlgorithm(entry.make)


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Keeps BatchNorm from updating its running statistics within the block; it still normalises by the batch in
    training.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
