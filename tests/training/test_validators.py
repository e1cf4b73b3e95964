"""Figures that judge on the target without labels, against slow loops, and what they may not see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from supercm_ray.config import AlgorithmConfig, Config, DataConfig, ModelConfig, PlaceConfig, TrainingConfig
from supercm_ray.data import Dataset, DeviceData, load_dataset, split_dataset
from supercm_ray.models import Outputs
from supercm_ray.training import TrainState, fit
from supercm_ray.training.validators import target_figures

CONFIG = Config(
    data=DataConfig(name="digits_even", target=PlaceConfig(name="digits_odd_blurred")),
    model=ModelConfig(channels=(4, 8)),
    algorithm=AlgorithmConfig(name="dann"),
    training=TrainingConfig(
        num_epochs=2, steps_per_epoch=2, labeled_batch_size=12, unlabeled_batch_size=12, device="cpu"
    ),
)


def test_figures_equal_slow_loops() -> None:
    torch.manual_seed(0)
    features, logits, centroids = torch.randn(6, 4), torch.randn(6, 3), torch.randn(3, 4)
    p = logits.softmax(1)
    figures = target_figures(Outputs(features, logits, p), centroids, torch.tensor([True, True, True]))
    rows = p.tolist()
    entropy = sum(-x * math.log(x) for row in rows for x in row) / 6
    mean = [sum(row[k] for row in rows) / 6 for k in range(3)]
    diversity = sum(-x * math.log(x) for x in mean)
    density = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]
        scores = [math.exp(sum(a * b for a, b in zip(unit[i], unit[j], strict=True)) / 0.05) for j in others]
        density += sum(-s / sum(scores) * math.log(s / sum(scores)) for s in scores) / 6
    distortion = sum(
        rows[i][k] * (features[i] - centroids[k]).square().sum().item() for i in range(6) for k in range(3)
    )
    assert figures["target/entropy"] == pytest.approx(entropy, rel=1e-5)
    assert figures["target/information_maximisation"] == pytest.approx(diversity - entropy, rel=1e-4)
    assert figures["target/snd"] == pytest.approx(density, rel=1e-4)
    assert figures["target/distortion"] == pytest.approx(distortion / 24, rel=1e-5)


def history(dataset: Dataset) -> list[dict[str, float]]:
    cpu = torch.device("cpu")
    data = DeviceData.of(dataset, split_dataset(dataset, CONFIG), cpu)
    return [dict(metrics) for metrics in fit(TrainState.create(CONFIG, dataset, cpu), data)]


def test_target_labels_reach_the_oracle_and_nothing_else() -> None:
    dataset = load_dataset(CONFIG.data)
    labels = dataset.labels.copy()
    labels[dataset.target_rows] = (labels[dataset.target_rows] + 1) % 10
    poisoned = Dataset(**{**vars(dataset), "labels": labels})
    ours, theirs = history(dataset), history(poisoned)
    assert {name for name in ours[-1] if name.startswith("target/")} == {
        "target/entropy",
        "target/information_maximisation",
        "target/snd",
        "target/distortion",
    }
    for one, other in zip(ours, theirs, strict=True):
        changed = {name for name in one if one[name] != other[name]}
        assert changed <= {"oracle/accuracy", "epoch_seconds"}
    assert any(one["oracle/accuracy"] != other["oracle/accuracy"] for one, other in zip(ours, theirs, strict=True))


def test_test_rows_of_the_target_reach_nothing() -> None:
    dataset = load_dataset(CONFIG.data)
    test = split_dataset(dataset, CONFIG).test
    images = dataset.images.copy()
    images[test] = np.random.default_rng(0).integers(0, 256, images[test].shape)
    ours, theirs = history(dataset), history(Dataset(**{**vars(dataset), "images": images}))
    drop = {"epoch_seconds"}
    assert [{k: v for k, v in m.items() if k not in drop} for m in ours] == [
        {k: v for k, v in m.items() if k not in drop} for m in theirs
    ]
