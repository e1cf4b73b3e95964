"""The gradient noise scale, on gradients whose noise is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import Batch, load_dataset, make_splits
from supercm_ray.scaling import timing
from supercm_ray.scaling.noise_scale import NoiseScale, noise_scale
from supercm_ray.scaling.step_profile import StepProfile
from supercm_ray.scaling.timing import TimingJob, time_job

NUM_DRAWS = 4000


def profiled_samples(monkeypatch: pytest.MonkeyPatch, labels_per_class: int) -> np.ndarray:
    """The labeled samples (steps, batch) that the profiled steps of a timing are given."""
    drawn: list[np.ndarray] = []

    def profile(state: Any, batches: Iterator[Batch], num_steps: int) -> StepProfile:
        drawn.extend(next(batches).labeled_indices.numpy() for _ in range(NUM_DRAWS))
        return StepProfile(0.0, 0.0, 0.0, 0.0, 0, 0, (), ())

    monkeypatch.setattr(timing, "profile_steps", profile)
    config = Config(
        data=DataConfig(labels_per_class=labels_per_class, shift_pixels=0),
        model=ModelConfig(options={"channels": (4,)}),
        training=TrainingConfig(labeled_batch_size=20, unlabeled_batch_size=2, steps_per_epoch=500, device="cpu"),
    )
    dataset = load_dataset(config.data)
    list(time_job(TimingJob(config, dataset, make_splits(dataset.labels, config.data, config.seed), 1, 1)))
    return np.stack(drawn)


def found_by_two_workers(samples: np.ndarray, gradients: np.ndarray) -> NoiseScale:
    """The estimate from batches (steps, batch) of samples whose gradients (N, parameters) are known."""
    own = gradients[samples].reshape(len(samples), 2, -1, gradients.shape[1]).mean(axis=2)
    small, big = (own**2).sum(axis=2).mean(axis=1), (own.mean(axis=1) ** 2).sum(axis=1)
    half = samples.shape[1] // 2
    return noise_scale(small.tolist(), big.tolist(), small_batch=half, big_batch=2 * half)


@pytest.mark.parametrize("labels_per_class", [1, 5])
def test_few_labeled_samples_give_their_noise(monkeypatch: pytest.MonkeyPatch, labels_per_class: int) -> None:
    num_samples = 10 * labels_per_class
    noise = np.random.default_rng(0).standard_normal((num_samples, 50))
    gradients = np.full(50, 0.4) + (noise - noise.mean(axis=0))  # |G|^2 = 8
    truth = ((gradients - gradients.mean(axis=0)) ** 2).sum(axis=1).mean() / (gradients.mean(axis=0) ** 2).sum()
    assert 4 < truth < 8
    samples = profiled_samples(monkeypatch, labels_per_class)
    assert set(samples.flatten()) == set(range(num_samples))
    assert found_by_two_workers(samples, gradients).samples == pytest.approx(truth, rel=0.15)


def test_the_noise_of_synthetic_gradients_is_found() -> None:
    generator = np.random.default_rng(0)
    gradient, spread = np.full(50, 0.2), 0.6  # |G|^2 = 2, tr(S) = 50 * 0.36 = 18
    small_batch, workers, steps = 8, 4, 4000
    own = gradient + spread / np.sqrt(small_batch) * generator.standard_normal((steps, workers, 50))
    small = (own**2).sum(axis=2).mean(axis=1).tolist()
    big = (own.mean(axis=1) ** 2).sum(axis=1).tolist()
    found = noise_scale(small, big, small_batch=small_batch, big_batch=small_batch * workers)
    assert found.signal == pytest.approx(2, rel=0.05)
    assert found.noise == pytest.approx(18, rel=0.05)
    assert found.samples == pytest.approx(9, rel=0.08)
    assert found.num_steps == steps


def test_expected_norms_give_the_scale_exactly() -> None:
    found = noise_scale([2 + 18 / 8], [2 + 18 / 32], small_batch=8, big_batch=32)
    assert found.samples == pytest.approx(9)


def test_pure_noise_gives_no_scale() -> None:
    assert noise_scale([1.0], [0.2], small_batch=8, big_batch=32).samples is None


@pytest.mark.parametrize(("small", "big", "batches"), [([1.0], [1.0], (8, 8)), ([], [], (8, 16)), ([1.0], [], (8, 16))])
def test_what_cannot_be_estimated_is_refused(small: list[float], big: list[float], batches: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two batch sizes"):
        noise_scale(small, big, small_batch=batches[0], big_batch=batches[1])
