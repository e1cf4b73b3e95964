"""Typical samples of more and more clusters."""

from __future__ import annotations

import numpy as np
import pytest

from supercm_ray.data.typical import typical_order


def four_blobs(sizes: tuple[int, ...] = (40, 30, 20, 10)) -> tuple[np.ndarray, np.ndarray]:
    """Samples around the corners of a long rectangle, in random order, and the corner of each."""
    random = np.random.default_rng(0)
    corners = random.permutation(np.repeat(np.arange(4), sizes))
    return np.array([[0, 0], [0, 10], [40, 0], [40, 10]])[corners] + random.normal(size=(sum(sizes), 2)), corners


def order(features: np.ndarray, num_labels: int, num_clusters: int, seed: int = 0) -> np.ndarray:
    return typical_order(features, num_labels, num_clusters, np.random.default_rng(seed))


def test_the_largest_clusters_come_first() -> None:
    features, corners = four_blobs()
    assert corners[order(features, 4, 4)].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
def test_later_rounds_look_into_clusters_of_the_first(seed: int) -> None:
    features, corners = four_blobs()
    found = order(features, 4, 2, seed)
    assert sorted(corners[found]) == [0, 1, 2, 3]
    assert {int(corner) // 2 for corner in corners[found[:2]]} == {0, 1}


def test_the_sample_with_the_nearest_neighbours_is_chosen() -> None:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    features = np.concatenate([ring, [[0.0, 0.0]]])
    assert order(features, 1, 1).tolist() == [12]


@pytest.mark.parametrize("num_samples", [1, 2, 7, 40])
def test_all_samples_can_be_asked_for(num_samples: int) -> None:
    features = np.random.default_rng(0).normal(size=(num_samples, 3))
    assert sorted(order(features, num_samples, 4)) == list(range(num_samples))
    assert len(order(features, 0, 4)) == 0


def test_many_samples_and_clusters_are_clustered_by_batches() -> None:
    random = np.random.default_rng(0)
    corners = random.integers(0, 100, size=6000)
    features = random.normal(size=(100, 8))[corners] * 50 + random.normal(size=(6000, 8))
    found = order(features, 100, 100)
    assert len(np.unique(corners[found])) > 90
