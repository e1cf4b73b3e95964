"""Cross-entropy alone. With the clustering loss this is SuperCM on its own; with a target domain and without the
clustering loss it is the "source only" baseline.
"""

from __future__ import annotations

from supercm_ray.algorithms.base import ALGORITHMS, Step, Terms


@ALGORITHMS.register("supervised")
def supervised(step: Step) -> Terms:
    """Returns no term: the cross-entropy of labeled samples is part of every loss."""
    return {}
