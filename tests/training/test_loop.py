"""The loop: what a step optimises, what it must not see, and that something is learned."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from comparing import differences
from torch.nn import functional
from torch.testing import assert_close

from supercm_ray.config import DataConfig
from supercm_ray.data import Dataset, DeviceData, draw_batch, epoch_indices, make_splits
from supercm_ray.training import TrainState, choose_device, evaluate, fit, train_epoch, train_step
from supercm_ray.training.loop import calibrate

CPU = torch.device("cpu")


def draw(state: TrainState, data: DeviceData):
    size = state.config.training.labeled_batch_size
    return draw_batch(data, data.labeled[:size], data.unlabeled[:size], state.config, state.generator)


@pytest.mark.parametrize("source", ["eval_pass", "batch"])
@pytest.mark.parametrize("warmup", [0, 5])
def test_the_loss_of_a_step_is_the_sum_of_its_terms(start, source: str, warmup: int) -> None:
    weight, alpha, temperature = 0.7, 1.3, 0.5
    state, data = start(
        {
            "algorithm.clustering_weight": weight,
            "algorithm.balance_alpha": alpha,
            "algorithm.temperature": temperature,
            "algorithm.clustering_warmup_steps": warmup,
            "algorithm.centroid_source": source,
            "algorithm.centroid_rule": "running_mean",
        }
    )
    for _ in range(2):
        train_step(state, draw(state, data))
    batch = draw(state, data)
    model, centroids = copy.deepcopy(state.model).double(), state.centroids.value.double()
    terms = train_step(state, batch)

    clean = model.eval()(batch.labeled_clean.double()).features
    features, logits, g = model.train()(torch.cat([batch.labeled, batch.unlabeled]).double())
    assert_close(logits, model.clustering.head(features) / temperature)
    source_features = clean if source == "eval_pass" else features[: len(batch.labels)]
    for k in batch.labels.unique().tolist():
        mean = source_features[: len(batch.labels)][batch.labels == k].mean(dim=0)
        centroids[k] = ((mean + 2 * centroids[k]) / 3).detach()
    seen = batch.labels.unique()
    assert 1 < len(seen) < 10, "the case has classes that were never seen"
    distance = torch.stack([(features - centroids[k]).square().sum(dim=1) for k in seen], dim=1)
    share = g[:, seen] / g[:, seen].sum(dim=1, keepdim=True)
    clustering = (share * distance).sum() / features.numel() + ((1 - alpha) * g.mean(dim=0).log()).sum()
    supervised = functional.cross_entropy(logits[: len(batch.labels)], batch.labels)
    ramp = math.exp(-5 * (1 - 3 / 5) ** 2) if warmup else 1.0
    assert set(terms) == {"loss", "supervised", "clustering"}
    assert terms["supervised"].item() == pytest.approx(supervised.item(), rel=1e-4)
    assert terms["clustering"].item() == pytest.approx(clustering.item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx((supervised + weight * ramp * clustering).item(), rel=1e-4)
    assert not any(term.requires_grad for term in terms.values())


def test_the_clustering_loss_reaches_backbone_and_head_and_not_the_centroids(start) -> None:
    weights = []
    for weight in (0.0, 1.0):
        state, data = start({"algorithm.clustering_weight": weight})
        train_step(state, draw(state, data))
        weights.append(dict(state.model.named_parameters()))
        assert not state.centroids.value.requires_grad
    without, with_clustering = weights
    for name in ("backbone.layers.0.weight", "clustering.head.weight"):
        assert not torch.equal(without[name], with_clustering[name]), name


@pytest.mark.parametrize("source", ["eval_pass", "batch"])
def test_without_the_clustering_loss_it_is_a_plain_supervised_loop(start, digits: Dataset, source: str) -> None:
    settings = {"algorithm.clustering_weight": 0.0, "training.num_epochs": 1, "algorithm.centroid_source": source}
    state, data = start(settings)
    list(fit(state, data))

    config = state.config
    twin, _ = start(settings)
    calibrate(twin, data)
    model = twin.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.training.learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(config.seed)
    for labeled in epoch_indices(data.labeled, 3, 12, generator):
        batch = draw_batch(data, labeled, data.unlabeled[:0], config, generator)
        optimizer.zero_grad()
        functional.cross_entropy(model(batch.labeled).logits, batch.labels).backward()
        optimizer.step()
    assert_close(dict(state.model.state_dict()), dict(model.state_dict()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.2, 0.99])
def test_the_average_follows_the_parameters(start, decay: float, warmup: bool) -> None:
    state, data = start({"training.ema_decay": decay, "training.ema_warmup": warmup})
    by_hand = [parameter.detach().clone() for parameter in state.model.parameters()]
    for step in range(1, 6):
        train_step(state, draw(state, data))
        keep = min(decay, step / (step + 9)) if warmup else decay
        by_hand = [keep * a + (1 - keep) * p.detach() for a, p in zip(by_hand, state.model.parameters(), strict=True)]
    assert_close(list(state.ema_model.parameters()), by_hand, rtol=1e-5, atol=1e-7)
    assert not any(parameter.requires_grad for parameter in state.ema_model.parameters())
    current = dict(state.model.named_buffers())
    assert all(torch.equal(buffer, current[name]) for name, buffer in state.ema_model.named_buffers())


def test_the_epoch_reports_means_of_its_terms_and_the_average_on_val(start) -> None:
    state, data = start({"training.num_epochs": 2})
    twin, _ = start({"training.num_epochs": 2})
    calibrate(twin, data)
    indices = [epoch_indices(part, 3, 12, twin.generator) for part in (data.labeled, data.unlabeled)]
    steps = [
        train_step(twin, draw_batch(data, *pair, twin.config, twin.generator)) for pair in zip(*indices, strict=True)
    ]
    run = fit(state, data)
    metrics = next(run)
    for name in ("loss", "supervised", "clustering"):
        assert metrics[f"train/{name}"] == pytest.approx(sum(step[name].item() for step in steps) / 3, rel=1e-5)
    val = evaluate(twin.ema_model, data, data.val)
    assert (metrics["val/accuracy"], metrics["val/loss"]) == (val.accuracy, val.loss)
    assert val.loss != evaluate(twin.model, data, data.val).loss
    assert metrics["epoch"] == 1
    assert metrics["epoch_seconds"] > 0
    assert next(run)["epoch"] == 2
    assert len(list(run)) == 0
    assert (state.epoch, state.step) == (2, 6)


@pytest.mark.parametrize("source", ["eval_pass", "batch"])
def test_test_samples_and_unlabeled_labels_change_nothing(start, digits: Dataset, source: str) -> None:
    settings = {"algorithm.centroid_source": source, "algorithm.clustering_weight": 1.0}
    honest, data = start(settings)
    splits = make_splits(digits.labels, honest.config.data, honest.config.seed)
    images, labels = digits.images.copy(), digits.labels.copy()
    rng = np.random.default_rng(0)
    images[splits.test] = rng.integers(0, 256, images[splits.test].shape, dtype=np.uint8)
    for indices in (splits.test, splits.unlabeled):
        labels[indices] = rng.integers(0, 10, len(indices))
    poisoned, _ = start(settings)
    list(fit(honest, data))
    list(fit(poisoned, DeviceData.of(replace(digits, images=images, labels=labels), splits, CPU)))
    assert differences(honest, poisoned) == []


def test_unlabeled_images_and_labels_of_labeled_samples_do_matter(start, digits: Dataset) -> None:
    honest, data = start()
    list(fit(honest, data))
    splits = make_splits(digits.labels, honest.config.data, honest.config.seed)
    images, labels = digits.images.copy(), digits.labels.copy()
    images[splits.unlabeled] = 255 - images[splits.unlabeled]
    labels[splits.labeled] = (labels[splits.labeled] + 1) % 10
    for changed in (replace(digits, images=images), replace(digits, labels=labels)):
        other, _ = start()
        list(fit(other, DeviceData.of(changed, splits, CPU)))
        assert other.history[0]["train/loss"] != honest.history[0]["train/loss"]


def test_an_epoch_may_be_without_unlabeled_samples(start) -> None:
    state, data = start({"training.unlabeled_batch_size": 0})
    assert math.isfinite(train_epoch(state, data)["loss"])


def test_something_is_learned(digits: Dataset, start) -> None:
    state, data = start(
        {
            "model.options.channels": [16, 16],
            "training.num_epochs": 20,
            "training.steps_per_epoch": 15,
            "training.labeled_batch_size": 32,
            "training.unlabeled_batch_size": 32,
            "training.learning_rate": 0.01,
        }
    )
    list(fit(state, data))
    accuracies = [metrics["val/accuracy"] for metrics in state.history]
    assert accuracies[-1] > 0.5
    assert state.history[-1]["train/loss"] < 0.5 * state.history[0]["train/loss"]
    unread = DeviceData.of(digits, make_splits(digits.labels, DataConfig(label_ratio=0.1), 0), CPU)
    assert evaluate(state.ema_model, unread, unread.test).accuracy > 0.5


def test_the_device_is_the_one_named() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
