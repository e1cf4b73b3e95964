"""What centroids are made of, and what losses are averaged over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from supercm_ray.core import LearnedCentroids, RunningCentroids
from supercm_ray.data import Batch, DeviceData, draw_batch, epoch_indices
from supercm_ray.training import TrainState, fit, train_step

Start = Callable[..., tuple[TrainState, DeviceData]]


def one_batch(state: TrainState, data: DeviceData, num_unlabeled: int = 12) -> Batch:
    indices = epoch_indices(data.labeled, 1, 6, state.generator)[0]
    others = epoch_indices(data.unlabeled, 1, num_unlabeled, state.generator)[0]
    return draw_batch(data, indices, others, state.config, state.generator)


@pytest.mark.parametrize("source", ["eval_pass", "batch"])
@pytest.mark.parametrize("threshold", [0.0, 0.12, 1.0])
def test_confident_unlabeled_samples_join_the_centroids(start: Start, source: str, threshold: float) -> None:
    mode = {"algorithm.centroid_mode": "pseudo_labeled", "algorithm.centroid_source": source}
    state, data = start({**mode, "algorithm.centroid_threshold": threshold, "algorithm.centroid_rule": "class_count"})
    batch = one_batch(state, data)
    with torch.no_grad():
        if source == "eval_pass":
            outputs = state.model.eval()(torch.cat([batch.labeled_clean, batch.unlabeled_clean]))
        else:
            outputs = state.model.train()(torch.cat([batch.labeled, batch.unlabeled]))
    state.model.train()
    sums, counts = torch.zeros_like(state.centroids.value), torch.zeros(10)
    for i, (feature, assignment) in enumerate(zip(outputs.features, outputs.assignments, strict=True)):
        if i < 6 or assignment.max() > threshold:
            k = batch.labels[i] if i < 6 else assignment.argmax()
            sums[k] += feature
            counts[k] += 1
    train_step(state, batch)
    seen = counts > 0
    assert torch.equal(state.centroids.seen, seen)
    assert torch.allclose(state.centroids.value[seen], sums[seen] / counts[seen, None], atol=1e-5)


def test_learned_centroids_are_trained_by_the_clustering_loss_alone(start: Start) -> None:
    moved = {}
    for weight in (0.0, 1.0):
        settings = {"algorithm.centroid_mode": "learned", "algorithm.clustering_weight": weight}
        state, data = start(settings)
        assert isinstance(state.centroids, LearnedCentroids)
        before = state.centroids.value.detach().clone()
        train_step(state, one_batch(state, data))
        moved[weight] = (state.centroids.value - before).abs().max().item()
        assert state.centroids.num_updates == 1
    assert moved[0.0] == 0
    assert moved[1.0] > 0


def test_labeled_centroids_are_the_default(start: Start) -> None:
    state, _ = start()
    assert isinstance(state.centroids, RunningCentroids)


def test_means_over_all_samples_are_those_over_own_samples_times_their_share(start: Start) -> None:
    terms: dict[str, Any] = {}
    for over in ("own_samples", "all_samples"):
        settings = {
            "algorithm.name": "pseudo_label",
            "algorithm.options.threshold": 0.0,
            "algorithm.loss_reduction": over,
        }
        state, data = start(settings)
        terms[over] = train_step(state, one_batch(state, data))
    own, over_all = terms["own_samples"], terms["all_samples"]
    assert over_all["supervised"].item() == pytest.approx(own["supervised"].item() * 6 / 18)
    assert over_all["consistency"].item() == pytest.approx(own["consistency"].item() * 12 / 18)
    assert over_all["clustering"].item() == pytest.approx(own["clustering"].item())
    expected = over_all["supervised"] + over_all["consistency"] + over_all["clustering"]
    assert over_all["loss"].item() == pytest.approx(expected.item())


def test_layers_that_draw_random_numbers_draw_by_seed_and_step(start: Start) -> None:
    """Dropout draws from torch's global generators, which other code moves on."""
    ends = []
    for disturbance in (0, 3):
        state, data = start({"model.name": "mobilenet_v3_small", "training.num_epochs": 2})
        results = fit(state, data)
        next(results)
        torch.rand(disturbance)
        ends.append({name: value for name, value in next(results).items() if name != "epoch_seconds"})
    assert ends[0] == ends[1]


def test_training_leaves_the_global_generator_alone(start: Start) -> None:
    state, data = start()
    before = torch.get_rng_state()
    next(fit(state, data))
    assert torch.equal(torch.get_rng_state(), before)
