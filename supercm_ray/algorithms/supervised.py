"""Cross-entropy alone. With the clustering loss this is SuperCM on its own; with a target domain and without the
clustering loss it is what the field calls source only.
"""

from __future__ import annotations

from supercm_ray.algorithms.base import ALGORITHMS, Step, Terms


@ALGORITHMS.register("supervised")
def supervised(step: Step) -> Terms:
    """Adds no term."""
    return {}
