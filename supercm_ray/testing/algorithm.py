"""The contract of algorithms, as tests that an algorithm's own test class inherits:

    from supercm_ray.testing.algorithm import AlgorithmContract

    class TestMine(AlgorithmContract):
        name = "mine"
        overrides = {"algorithm.options.threshold": 0.0}

The algorithm must be registered before, such as by importing the plug-in's module.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from supercm_ray.algorithms import ALGORITHMS, NEEDS, Terms
from supercm_ray.config import Config, DataConfig, Leaf, ModelConfig, TrainingConfig, is_option
from supercm_ray.data import Dataset, DeviceData, draw_batch, make_splits
from supercm_ray.training import TrainState, fit, train_epoch, train_step

CPU = torch.device("cpu")
NO_TERMS = "supervised"
"""The algorithm that adds no term, for comparison."""


def toy_dataset(num_classes: int = 3, samples_per_class: int = 40, seed: int = 0) -> Dataset:
    """Makes noisy 8x8 images, each class with its own pattern."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 200, (num_classes, 1, 8, 8))
    labels = np.repeat(np.arange(num_classes), samples_per_class)
    images = (patterns[labels] + rng.integers(0, 56, (len(labels), 1, 8, 8))).astype(np.uint8)
    return Dataset("toy", images, labels, tuple(map(str, range(num_classes))), (0.4,), (0.3,))


class AlgorithmContract:
    """Tests that an algorithm is finite, differentiable, deterministic by seed and resumable, works for any number of
    classes and samples, ignores hidden labels, and leaves BatchNorm statistics alone.

    Attributes:
        name: the registered name of the algorithm.
        overrides: overrides of the configuration in the tests, such as a threshold low enough to be reached.
    """

    name: ClassVar[str] = ""
    overrides: ClassVar[Mapping[str, Leaf]] = {}

    def config(self, changes: Mapping[str, Leaf] | None = None, *, name: str = "") -> Config:
        """Creates the tests' configuration with these leaves set, for another algorithm if `name` is given."""
        base = Config(
            data=DataConfig(labels_per_class=3),
            model=ModelConfig.model_validate({"options": {"channels": (4, 8)}}),
            training=TrainingConfig(
                num_epochs=3, steps_per_epoch=3, labeled_batch_size=6, unlabeled_batch_size=10, device="cpu"
            ),
        )
        name = name or self.name
        own = {path: value for path, value in self.overrides.items() if name == self.name or not is_option(path)}
        # The toy data have one domain all the same.
        target = {"data.target": {"name": "digits_odd_blurred"}} if "target" in ALGORITHMS.find(name).requires else {}
        return base.replace({"algorithm.name": name, **target, **own, **(changes or {})})

    def start(self, config: Config, dataset: Dataset | None = None) -> tuple[TrainState, DeviceData]:
        """Creates a new run and its data."""
        dataset = dataset or toy_dataset()
        splits = make_splits(toy_dataset(dataset.num_classes).labels, config.data, config.seed)
        state = TrainState.create(config, dataset, CPU, len(splits.unlabeled))
        return state, DeviceData.of(dataset, splits, CPU)

    def test_its_needs_are_known_words(self) -> None:
        """Every word in `requires` is one that the package checks."""
        assert ALGORITHMS.find(self.name).requires <= NEEDS

    def test_reads_sample_indices_only_where_it_requires_them(self) -> None:
        """Without `indices` in `requires`, the terms are the same for other indices."""
        found: list[Terms] = []
        for others in (False, True):
            state, data = self.start(self.config())
            for i in range(2):
                unlabeled = data.unlabeled[6 * i : 6 * i + 10]
                batch = draw_batch(data, data.labeled[:6], unlabeled, state.config, state.generator)
                if others:
                    batch = dataclasses.replace(batch, unlabeled_indices=torch.arange(20, 30))
                found.append(train_step(state, batch))
        if "indices" not in ALGORITHMS.find(self.name).requires:
            assert all(torch.equal(found[1][name], found[3][name]) for name in found[1])

    @pytest.mark.parametrize("weight", [0.0, 1.0])
    def test_finite_and_moves_every_trained_parameter(self, weight: float) -> None:
        """An epoch gives finite terms, changes the network, and gives finite gradients of the algorithm's own
        parameters.
        """
        state, data = self.start(self.config({"algorithm.clustering_weight": weight}))
        before = copy.deepcopy(list(state.model.parameters()))
        terms = train_epoch(state, data)
        assert all(np.isfinite(value) for value in terms.values())
        assert all(not torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))
        trained = [p for p in state.algorithm.parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)

    def test_deterministic_by_seed(self) -> None:
        """The same seed gives the same network, another seed another one."""
        ends = []
        for seed in (0, 0, 1):
            state, data = self.start(self.config({"seed": seed}))
            list(fit(state, data))
            ends.append(_parameters(state))
        assert torch.equal(ends[0], ends[1])
        assert not torch.equal(ends[0], ends[2])

    def test_resumes_bit_identically(self) -> None:
        """A run that continues from its saved state ends like one that was not interrupted."""
        state, data = self.start(self.config())
        results = fit(state, data)
        next(results)
        saved = copy.deepcopy(state.state_dict())
        list(results)
        resumed, _ = self.start(self.config())
        resumed.load_state_dict(saved)
        list(fit(resumed, data))
        for module in ("model", "ema_model", "algorithm", "centroids"):
            ours, theirs = getattr(state, module).state_dict(), getattr(resumed, module).state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)

    @pytest.mark.parametrize("num_classes", [2, 7])
    def test_any_number_of_classes(self, num_classes: int) -> None:
        """An epoch gives finite terms."""
        state, data = self.start(self.config(), toy_dataset(num_classes))
        assert all(np.isfinite(value) for value in train_epoch(state, data).values())

    def test_one_unlabeled_and_one_labeled_sample(self) -> None:
        """An epoch gives finite terms."""
        sizes: dict[str, Leaf] = {"training.labeled_batch_size": 1, "training.unlabeled_batch_size": 1}
        state, data = self.start(self.config(sizes))
        assert all(np.isfinite(value) for value in train_epoch(state, data).values())

    def test_hidden_labels_change_nothing(self) -> None:
        """Permuted labels of unlabeled and test samples give the same metrics and the same network."""
        dataset = toy_dataset()
        config = self.config()
        splits = make_splits(dataset.labels, config.data, config.seed)
        hidden = np.concatenate([splits.unlabeled, splits.test])
        labels = dataset.labels.copy()
        labels[hidden] = np.random.default_rng(5).permutation(labels[hidden])
        assert not np.array_equal(labels, dataset.labels)
        poisoned = Dataset("toy", dataset.images, labels, dataset.class_names, dataset.mean, dataset.std)
        ends = []
        for one in (dataset, poisoned):
            state, data = self.start(config, one)
            free = ("epoch_seconds", "oracle/accuracy")
            history = [{k: v for k, v in m.items() if k not in free} for m in fit(state, data)]
            ends.append((history, _parameters(state)))
        assert ends[0][0] == ends[1][0]
        assert torch.equal(ends[0][1], ends[1][1])

    def test_extra_passes_leave_batch_norm_statistics_alone(self) -> None:
        """Running statistics after one step equal those of the algorithm that makes no extra pass."""
        ends = []
        for name in (self.name, NO_TERMS):
            state, data = self.start(self.config({"training.steps_per_epoch": 1}, name=name))
            train_epoch(state, data)
            ends.append({key: value for key, value in state.model.state_dict().items() if "running" in key})
        assert ends[0]
        assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
        assert all(m.track_running_stats for m in state.model.modules() if isinstance(m, torch.nn.BatchNorm2d))

    def test_its_weight_scales_its_terms_alone(self) -> None:
        """With a weight of 0 the parameters change as they do without a term."""
        ends = []
        for name in (self.name, NO_TERMS):
            changes: dict[str, Leaf] = {"algorithm.consistency_weight": 0.0, "training.steps_per_epoch": 1}
            state, data = self.start(self.config(changes, name=name))
            train_epoch(state, data)
            ends.append(_parameters(state))
        assert torch.allclose(ends[0], ends[1], atol=1e-7)


def _parameters(state: TrainState) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()])
