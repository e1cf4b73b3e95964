"""What every host promises. A test class inherits `AlgorithmContract` and sets `name`."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import pytest
import torch

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import Dataset, DeviceData, make_splits
from supercm_ray.training import TrainState, fit, train_epoch

CPU = torch.device("cpu")
TARGET: dict[str, object] = {"data.target": {"name": "digits_odd_blurred"}}
"""What hosts for domain adaptation ask of a configuration; the toy data have one domain all the same."""


def toy_dataset(num_classes: int = 3, samples_per_class: int = 40, seed: int = 0) -> Dataset:
    """Noisy 8x8 images, each class with its own pattern."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 200, (num_classes, 1, 8, 8))
    labels = np.repeat(np.arange(num_classes), samples_per_class)
    images = (patterns[labels] + rng.integers(0, 56, (len(labels), 1, 8, 8))).astype(np.uint8)
    return Dataset("toy", images, labels, tuple(map(str, range(num_classes))), (0.4,), (0.3,))


class AlgorithmContract:
    """Finite, differentiable, deterministic by seed, resumable, for any number of classes and samples, blind to hidden
    labels, and without a trace in BatchNorm statistics.
    """

    name = ""
    settings: ClassVar[dict[str, object]] = {"algorithm.confidence_threshold": 0.0}

    def config(self, **assignments: object) -> Config:
        base = Config(
            data=DataConfig(labels_per_class=3),
            model=ModelConfig(options={"channels": (4, 8)}),
            training=TrainingConfig(
                num_epochs=3, steps_per_epoch=3, labeled_batch_size=6, unlabeled_batch_size=10, device="cpu"
            ),
        )
        named = {name.replace("__", "."): value for name, value in assignments.items()}
        return base.replace({"algorithm.name": self.name, **self.settings, **named})

    def start(self, config: Config, dataset: Dataset | None = None) -> tuple[TrainState, DeviceData]:
        dataset = dataset or toy_dataset()
        splits = make_splits(toy_dataset(dataset.num_classes).labels, config.data, config.seed)
        return TrainState.create(config, dataset, CPU), DeviceData.of(dataset, splits, CPU)

    @pytest.mark.parametrize("weight", [0.0, 1.0])
    def test_finite_and_moves_every_trained_parameter(self, weight: float) -> None:
        state, data = self.start(self.config(algorithm__clustering_weight=weight))
        before = copy.deepcopy(list(state.model.parameters()))
        terms = train_epoch(state, data)
        assert all(np.isfinite(value) for value in terms.values())
        assert all(not torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))
        trained = [p for p in state.algorithm.parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)

    def test_deterministic_by_seed(self) -> None:
        ends = []
        for seed in (0, 0, 1):
            state, data = self.start(self.config(seed=seed))
            list(fit(state, data))
            ends.append(torch.cat([p.flatten() for p in state.model.parameters()]))
        assert torch.equal(ends[0], ends[1])
        assert not torch.equal(ends[0], ends[2])

    def test_resumes_bit_identically(self) -> None:
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
        state, data = self.start(self.config(), toy_dataset(num_classes))
        assert all(np.isfinite(value) for value in train_epoch(state, data).values())

    def test_one_unlabeled_and_one_labeled_sample(self) -> None:
        sizes = {"training.labeled_batch_size": 1, "training.unlabeled_batch_size": 1}
        state, data = self.start(self.config().replace(sizes))
        assert all(np.isfinite(value) for value in train_epoch(state, data).values())

    def test_hidden_labels_change_nothing(self) -> None:
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
            ends.append((history, torch.cat([p.flatten() for p in state.model.parameters()])))
        assert ends[0][0] == ends[1][0]
        assert torch.equal(ends[0][1], ends[1][1])

    def test_extra_passes_leave_batch_norm_statistics_alone(self) -> None:
        """Running statistics after one step equal those after one step of the host that makes no extra pass."""
        ends = []
        for name in (self.name, "supervised"):
            state, data = self.start(self.config(algorithm__name=name, training__steps_per_epoch=1))
            train_epoch(state, data)
            ends.append({key: value for key, value in state.model.state_dict().items() if "running" in key})
        assert ends[0]
        assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
        assert all(m.track_running_stats for m in state.model.modules() if isinstance(m, torch.nn.BatchNorm2d))

    def test_its_weight_scales_its_terms_alone(self) -> None:
        """With a weight of 0 the parameters move as the supervised host moves them."""
        ends = []
        for name in (self.name, "supervised"):
            weights = {"algorithm__consistency_weight": 0.0, "training__steps_per_epoch": 1}
            state, data = self.start(self.config(algorithm__name=name, **weights))
            train_epoch(state, data)
            ends.append(torch.cat([p.flatten() for p in state.model.parameters()]))
        assert torch.allclose(ends[0], ends[1], atol=1e-7)
