"""Samples whose surroundings cover most others, after ProbCover (Yehuda, Dekel, Hacohen and Weinshall 2022, Active
Learning Through a Covering Lens). Shapes: N samples, F features.

ProbCover takes one radius, within which samples are of one class in an estimate by clusters. Here the radius falls with
the number of samples chosen, such that these cover half of all: an estimate made for features learned without labels
gives pixels too small a radius.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_Near = npt.NDArray[np.bool_]

_COVERED = 0.5
"""Fraction of all samples that those chosen shall cover."""
_NUM_LEVELS_OF = 100
"""Samples whose distances to all others are the radii that are tried."""
_ROUNDING = 1e-6
"""Relative difference of distances that count as one, so that rounding does not decide which are within a radius."""


def coverage_order(features: Floats, num_labels: int, num_first: int) -> Indices:
    """Returns the first `num_labels` samples of an order in which fewer are a subset of more; fewer than that if all
    others are identical to these.

    Each is the one within whose radius most samples lie that no former one covers. The radius is the smallest with
    which `num_first` samples, then twice as many, and so on, cover half of all.

    Args:
        features: (N, F), in random order, which decides among equals.
        num_labels: the number of samples, from 0 to N.
        num_first: the number of samples for which the radius is found first, such as that of classes.
    """
    from sklearn.metrics import pairwise_distances  # heavy, and needed for such choices alone

    distances = pairwise_distances(features)
    chosen: list[int] = []
    for i in range(len(features).bit_length() + 1):
        if len(chosen) >= num_labels:
            break
        near = distances <= _radius(distances, chosen, num_first << i)
        chosen, _ = _cover(near, chosen, min(num_first << i, num_labels))
    return np.array(chosen, dtype=np.int64)


def _radius(distances: Floats, chosen: list[int], count: int) -> float:
    """Returns the smallest radius, by bisection, with which those chosen and others, `count` in all, cover enough."""
    levels = np.sort(distances[:_NUM_LEVELS_OF], axis=None) * (1 + _ROUNDING)
    too_low, enough = -1, len(levels) - 1
    while enough - too_low > 1 + len(levels) // 500:
        middle = (too_low + enough) // 2
        if _cover(distances <= levels[middle], chosen, count)[1] >= _COVERED:
            enough = middle
        else:
            too_low = middle
    return float(levels[enough])


def _cover(near: _Near, chosen: list[int], count: int) -> tuple[list[int], float]:
    """Adds samples to those chosen until there are `count`, or each sample is near (N, N) one of them, and returns them
    with the fraction that is covered.
    """
    found, covered = list(chosen), near[chosen].any(axis=0)
    gains = near[~covered].sum(axis=0)
    while len(found) < count and not covered.all():
        best = int(gains.argmax())
        added = near[best] & ~covered
        gains -= near[added].sum(axis=0)
        covered |= added
        found.append(best)
    return found, float(covered.mean())
