"""Samples that cover others."""

from __future__ import annotations

import numpy as np
import pytest

from supercm_ray.data.coverage import coverage_order


def test_each_sample_covers_most_of_what_is_left() -> None:
    """Three heaps on a line: the middle of each, the largest first, and nothing of the lonely sample."""
    heaps = [center + np.linspace(-1, 1, count) for center, count in ((0, 21), (10, 15), (20, 11), (100, 1))]
    found = coverage_order(np.concatenate(heaps)[:, None], 3, 3)
    assert (found[:2] < 21).any()
    assert found.max() < 47
    heap = np.repeat(np.arange(4), [21, 15, 11, 1])
    assert sorted(heap[coverage_order(np.concatenate(heaps)[:, None], 12, 3)])[-1] < 3


def test_a_small_radius_follows_a_large_one() -> None:
    """The first sample covers half of all; four of them lie in the four heaps, whose radius is smaller."""
    random = np.random.default_rng(0)
    heap = np.repeat(np.arange(4), 25)
    features = np.array([[0, 0], [0, 10], [10, 0], [10, 10]])[heap] + random.normal(size=(100, 2))
    assert sorted(heap[coverage_order(features, 4, 4)]) == [0, 1, 2, 3]


def test_fewer_are_the_first_of_more() -> None:
    features = np.random.default_rng(0).normal(size=(150, 3))
    most = coverage_order(features, 150, 4)
    assert sorted(most) == list(range(150))
    assert all(np.array_equal(coverage_order(features, count, 4), most[:count]) for count in range(150))


def test_identical_samples_are_not_chosen_twice() -> None:
    features = np.repeat(np.array([[0.0], [1.0], [5.0]]), 10, axis=0)
    assert sorted(features[coverage_order(features, 9, 2), 0]) == [0, 1, 5]


@pytest.mark.parametrize("scale", [1.0, 1 + 1e-9, 1e4])
def test_rounding_does_not_decide(scale: float) -> None:
    """Whole numbers give many equal distances, which the unit must not tell apart."""
    features = np.random.default_rng(0).integers(0, 6, size=(200, 4)).astype(float)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    assert np.array_equal(coverage_order(features @ turn * scale, 40, 5), coverage_order(features, 40, 5))
