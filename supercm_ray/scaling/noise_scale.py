"""The gradient noise scale: the batch size up to which more samples per step save steps.

McCandlish, Kaplan, Amodei et al. 2018, An Empirical Model of Large-Batch Training, arXiv 1812.06162, appendix A.1.
The expected squared norm of a gradient over B samples is |G|^2 + tr(S) / B, with G the gradient over all data and S the
covariance of the gradients of single samples. Two batch sizes give both unknowns: a worker's batch, and all of it. This
holds for samples drawn independently, as the profiled steps draw them. In training's shuffled passes over N samples a
batch of B <= N has (N - B) / (N - 1) of that noise, and whole passes have none but that of augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NoiseScale:
    """The noise of a gradient.

    Attributes:
        samples: tr(S) / |G|^2, the batch size at which noise and signal are equal; None if the estimate of |G|^2 is not
            above zero, so that more steps are needed.
        signal: unbiased estimate of |G|^2, which may be below zero by chance.
        noise: unbiased estimate of tr(S).
        num_steps: number of steps over which both are averaged.
        batch_samples: samples of all workers in a step.
    """

    samples: float | None
    signal: float
    noise: float
    num_steps: int
    batch_samples: int


def noise_scale(
    small_squares: Sequence[float], big_squares: Sequence[float], *, small_batch: int, big_batch: int
) -> NoiseScale:
    """Estimates the noise scale from squared norms of gradients at two batch sizes, of samples drawn independently.

    Args:
        small_squares: for each step the mean over workers of the squared norm of a worker's own gradient.
        big_squares: for each step the squared norm of the mean of those gradients.
        small_batch: samples of a worker in a step.
        big_batch: samples of all workers in a step.

    Raises:
        ValueError: if the two batch sizes are equal, or steps are missing.
    """
    if not 0 < small_batch < big_batch or not small_squares or len(small_squares) != len(big_squares):
        raise ValueError(
            f"two batch sizes and as many steps of each are needed, got {small_batch} and {big_batch} samples in "
            f"{len(small_squares)} and {len(big_squares)} steps"
        )
    small, big = float(np.mean(small_squares)), float(np.mean(big_squares))
    signal = (big_batch * big - small_batch * small) / (big_batch - small_batch)
    noise = (small - big) / (1 / small_batch - 1 / big_batch)
    scale = max(0.0, noise) / signal if signal > 0 else None
    return NoiseScale(scale, signal, noise, len(small_squares), big_batch)
