"""The gradient noise scale: up to about which batch size more rows a step still save steps.

McCandlish, Kaplan, Amodei et al. 2018, An Empirical Model of Large-Batch Training, arXiv 1812.06162, appendix A.1.
The expected squared norm of a gradient over B rows is |G|^2 + tr(S) / B, with G the gradient over all data and S the
covariance of single rows'. Two batch sizes give both unknowns; on N workers those are a worker's batch and all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NoiseScale:
    """What was found of a gradient's noise.

    Attributes:
        rows: tr(S) / |G|^2, the batch size in rows at which noise and signal weigh the same; None where the squared
            norm of the gradient itself does not come out above zero, so that more steps are to be taken.
        signal: |G|^2, without bias, which may be below zero by chance.
        noise: tr(S), without bias.
        num_steps: over how many steps both are means.
        batch_rows: rows of all workers in a step.
    """

    rows: float | None
    signal: float
    noise: float
    num_steps: int
    batch_rows: int


def noise_scale(
    small_squares: Sequence[float], big_squares: Sequence[float], *, small_rows: int, big_rows: int
) -> NoiseScale:
    """Estimates the noise scale from squared norms of gradients at two batch sizes.

    Args:
        small_squares: for each step the mean over workers of the squared norm of a worker's own gradient.
        big_squares: for each step the squared norm of the mean of those gradients.
        small_rows: rows of a worker in a step.
        big_rows: rows of all workers in a step.

    Raises:
        ValueError: where the two batch sizes do not differ, or steps are missing.
    """
    if not 0 < small_rows < big_rows or not small_squares or len(small_squares) != len(big_squares):
        raise ValueError(
            f"two batch sizes and as many steps of each are needed, got {small_rows} and {big_rows} rows in "
            f"{len(small_squares)} and {len(big_squares)} steps"
        )
    small, big = float(np.mean(small_squares)), float(np.mean(big_squares))
    signal = (big_rows * big - small_rows * small) / (big_rows - small_rows)
    noise = (small - big) / (1 / small_rows - 1 / big_rows)
    return NoiseScale(max(0.0, noise) / signal if signal > 0 else None, signal, noise, len(small_squares), big_rows)
