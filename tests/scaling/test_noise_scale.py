"""The gradient noise scale, on gradients whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest

from supercm_ray.scaling.noise_scale import noise_scale


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
