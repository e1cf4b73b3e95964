"""Figures that judge on the target without labels, against slow loops, and what they may not see."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from supercm_ray.config import AlgorithmConfig, Config, DataConfig, ModelConfig, PlaceConfig, TrainingConfig, load_study
from supercm_ray.data import Dataset, DeviceData, load_dataset, split_dataset
from supercm_ray.errors import StudyError
from supercm_ray.models import Outputs
from supercm_ray.training import TrainState, fit
from supercm_ray.training.evaluate import _evenly, class_means
from supercm_ray.training.loop import validate
from supercm_ray.training.validators import VALIDATORS, unlabeled_metrics

CONFIG = Config(
    data=DataConfig(name="digits_even", target=PlaceConfig(name="digits_odd_blurred")),
    model=ModelConfig(options={"channels": (4, 8)}),
    algorithm=AlgorithmConfig(name="dann"),
    training=TrainingConfig(
        num_epochs=2, steps_per_epoch=2, labeled_batch_size=12, unlabeled_batch_size=12, device="cpu"
    ),
)


def test_figures_equal_slow_loops() -> None:
    torch.manual_seed(0)
    features, logits, centroids = torch.randn(6, 4), torch.randn(6, 3), torch.randn(3, 4)
    p = logits.softmax(1)
    figures = unlabeled_metrics(Outputs(features, logits, p), centroids, torch.tensor([True] * 3), has_target=True)
    indices = p.tolist()
    entropy = sum(-x * math.log(x) for sample in indices for x in sample) / 6
    mean = [sum(sample[k] for sample in indices) / 6 for k in range(3)]
    diversity = sum(-x * math.log(x) for x in mean)
    density = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        unit = [[x / math.sqrt(sum(y * y for y in sample)) for x in sample] for sample in indices]
        scores = [math.exp(sum(a * b for a, b in zip(unit[i], unit[j], strict=True)) / 0.05) for j in others]
        density += sum(-s / sum(scores) * math.log(s / sum(scores)) for s in scores) / 6
    distortion = sum(
        indices[i][k] * (features[i] - centroids[k]).square().sum().item() for i in range(6) for k in range(3)
    )
    assert figures["target/entropy"] == pytest.approx(entropy, rel=1e-5)
    assert figures["target/information_maximisation"] == pytest.approx(diversity - entropy, rel=1e-4)
    assert figures["target/snd"] == pytest.approx(density, rel=1e-4)
    variance = sum((features[i, d] - features[:, d].mean()).square().item() for i in range(6) for d in range(4))
    assert figures["target/distortion"] == pytest.approx(distortion / variance, rel=1e-5)


def test_the_distortion_is_free_of_scale_and_place() -> None:
    torch.manual_seed(0)
    features, logits, centroids, seen = torch.randn(9, 4), torch.randn(9, 3), torch.randn(3, 4), torch.ones(3) > 0
    plain, moved = (
        unlabeled_metrics(
            Outputs(scale * features + place, logits, logits.softmax(1)),
            scale * centroids + place,
            seen,
            has_target=True,
        )["target/distortion"]
        for scale, place in ((1.0, 0.0), (64.0, 512.0))
    )
    assert moved == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e3])
def test_equal_features_explain_nothing(value: float) -> None:
    outputs = Outputs(torch.full((7, 4), value), torch.zeros(7, 3), torch.full((7, 3), 1 / 3))
    found = unlabeled_metrics(outputs, torch.full((3, 4), value), torch.ones(3) > 0, has_target=True)
    assert found["target/distortion"] == 1.0


def history(dataset: Dataset) -> list[dict[str, float]]:
    cpu = torch.device("cpu")
    data = DeviceData.of(dataset, split_dataset(dataset, CONFIG), cpu)
    return [dict(metrics) for metrics in fit(TrainState.create(CONFIG, dataset, cpu), data)]


def test_target_labels_reach_the_oracle_and_nothing_else() -> None:
    dataset = load_dataset(CONFIG.data)
    labels = dataset.labels.copy()
    labels[dataset.target_indices] = (labels[dataset.target_indices] + 1) % 10
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


def test_test_samples_of_the_target_reach_nothing() -> None:
    dataset = load_dataset(CONFIG.data)
    test = split_dataset(dataset, CONFIG).test
    images = dataset.images.copy()
    images[test] = np.random.default_rng(0).integers(0, 256, images[test].shape)
    ours, theirs = history(dataset), history(Dataset(**{**vars(dataset), "images": images}))
    drop = {"epoch_seconds"}
    assert [{k: v for k, v in m.items() if k not in drop} for m in ours] == [
        {k: v for k, v in m.items() if k not in drop} for m in theirs
    ]


def started(mode: str = "labeled") -> tuple[TrainState, DeviceData]:
    config, cpu = CONFIG.replace({"algorithm.centroid_mode": mode}), torch.device("cpu")
    dataset = load_dataset(config.data)
    data = DeviceData.of(dataset, split_dataset(dataset, config), cpu)
    return TrainState.create(config, dataset, cpu), data


def distortion(state: TrainState, data: DeviceData, centroids: torch.Tensor) -> float:
    with torch.no_grad():
        features, _, p = state.ema_model(data.pixels(data.unlabeled))
    assert len(data.unlabeled) < 2000
    distance = torch.stack([(features - centroid).square().sum(dim=1) for centroid in centroids], dim=1)
    return ((p * distance).sum() / (features - features.mean(dim=0)).square().sum()).item()


def test_the_distortion_judges_the_moving_average_alone() -> None:
    state, data = started()
    for _ in fit(state, data):
        pass
    with torch.no_grad():
        features = state.ema_model(data.pixels(data.labeled)).features
    labels = data.labels[data.labeled]
    means = torch.stack([features[labels == k].mean(dim=0) for k in range(10)])
    assert state.history[-1]["target/distortion"] == pytest.approx(distortion(state, data, means), rel=1e-4)
    assert state.history[-1]["target/distortion"] != pytest.approx(
        distortion(state, data, state.centroids.value), rel=1e-2
    )
    state.centroids.value += 7
    assert validate(state, data)["target/distortion"] == state.history[-1]["target/distortion"]


def test_learned_centroids_are_judged_as_they_are() -> None:
    state, data = started("learned")
    expected = distortion(state, data, state.centroids.value.detach())
    assert validate(state, data)["target/distortion"] == pytest.approx(expected, rel=1e-4)


def test_class_means_come_from_every_class_and_from_few_samples() -> None:
    labels = torch.arange(5000) % 10
    labels[labels == 3] = 4
    labels[1234] = 3
    chosen = _evenly(labels, 2000)
    counts = torch.bincount(labels[chosen], minlength=10)
    assert len(chosen.unique()) == len(chosen) <= 2000
    assert counts[3] == 1
    assert counts[[0, 4]].tolist() == [167, 333]
    assert _evenly(labels, 5000).sort().values.tolist() == list(range(5000))
    state, data = started()
    means, seen = class_means(state.ema_model, dataclasses.replace(data, labeled=data.labeled[:1]), 2000)
    assert seen.nonzero().item() == data.labels[data.labeled[0]]
    assert not means[~seen].any()


def _validate_as_worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.save(validate(*started()), folder / f"{rank}.pt")
    torch.distributed.barrier()
    os._exit(0)  # as in parity.py


def test_several_workers_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_validate_as_worker, args=(rank, tmp_path)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    alone = validate(*started())
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(alone, rel=1e-4)


STUDY = """\
base:
  data: {name: digits, labels_per_class: 5}
  model: {options: {channels: [4, 8]}}
  training: {num_epochs: 1, steps_per_epoch: 2, labeled_batch_size: 12, unlabeled_batch_size: 12, device: cpu}
objective: {metric: %s, direction: maximize}
"""


@pytest.fixture
def plug_ins() -> Iterator[list[tuple[torch.Size, torch.Size]]]:
    """Registers metrics as a user would, of unlabeled samples and of the target; yields the shapes that one saw."""
    saw = []

    def confidence(outputs: Outputs, centroids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        saw.append((outputs.assignments.shape[1:], centroids.shape))
        return outputs.assignments.max(dim=1).values.mean()

    VALIDATORS.add("unlabeled/confidence", confidence)
    VALIDATORS.add("target/one", lambda outputs, centroids, seen: 1.0, requires={"target"})
    VALIDATORS.add("oracle/peek", lambda outputs, centroids, seen: 1.0)
    yield saw
    for name in ("unlabeled/confidence", "target/one", "oracle/peek"):
        VALIDATORS.remove(name)


def test_a_study_may_select_by_a_metric_of_one_s_own(tmp_path: Path, plug_ins: list) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY % "unlabeled/confidence")
    config, cpu = load_study(path).base, torch.device("cpu")
    dataset = load_dataset(config.data)
    data = DeviceData.of(dataset, split_dataset(dataset, config), cpu)
    (metrics,) = fit(TrainState.create(config, dataset, cpu), data)
    assert 0.1 < metrics["unlabeled/confidence"] <= 1
    assert plug_ins == [((10,), (10, 8))]
    assert not {name for name in metrics if name.startswith("target/")} | {"oracle/accuracy"} & set(metrics)


@pytest.mark.parametrize(
    ("metric", "rule", "remedy"),
    [
        ("target/one", "a metric of the target needs a target", "give base.data.target"),
        ("target/snd", "a metric of the target needs a target", "give base.data.target"),
        ("unlabeled/confidense", "an objective is a metric or a searched path", "did you mean `unlabeled/confidence`"),
        ("oracle/peek", "selection never sees test or oracle metrics", "`unlabeled/confidence`"),
    ],
)
def test_a_metric_that_cannot_be_measured_is_refused(
    tmp_path: Path, plug_ins: list, metric: str, rule: str, remedy: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY % metric)
    with pytest.raises(StudyError, match=rf"{rule} must hold for objective\[0\]\.metric") as caught:
        load_study(path)
    assert remedy in str(caught.value)


@pytest.mark.parametrize("path", ["algorithm.clustering_weight", "algorithm.temperature", "training.learning_rate"])
def test_what_moves_a_metric_is_not_searched_beside_it(tmp_path: Path, path: str) -> None:
    text = STUDY.replace("labels_per_class: 5", "target: {name: digits_odd_blurred}").replace(
        "name: digits,", "name: digits_even,"
    )
    file = tmp_path / "study.yaml"
    space = f"space: {{{path}: {{type: float, low: 0.1, high: 1.0}}}}\n"
    file.write_text(text.replace("direction: maximize", "direction: minimize") % "target/distortion" + space)
    if path == "training.learning_rate":
        assert load_study(file).primary.metric == "target/distortion"
        return
    with pytest.raises(StudyError) as caught:
        load_study(file)
    message = str(caught.value)
    assert "must hold for objective[0].metric" in message
    assert f"got 'target/distortion' with space.{path}; select by another metric, or take `{path}` out" in message


def test_a_metric_of_one_s_own_sees_the_target(plug_ins: list) -> None:
    metrics = validate(*started())
    assert metrics["target/one"] == 1.0
    assert 0.1 < metrics["unlabeled/confidence"] <= 1


def test_a_metric_stands_in_for_none_of_the_loop_s(plug_ins: list) -> None:
    VALIDATORS.add("val/accuracy", lambda outputs, centroids, seen: 7.0)
    VALIDATORS.add("oracle/accuracy", lambda outputs, centroids, seen: 7.0)
    try:
        metrics = validate(*started())
    finally:
        VALIDATORS.remove("val/accuracy")
        VALIDATORS.remove("oracle/accuracy")
    assert metrics["val/accuracy"] <= 1
    assert metrics["oracle/accuracy"] <= 1
