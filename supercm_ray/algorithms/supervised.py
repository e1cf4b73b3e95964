"""Cross-entropy alone: the host adds nothing. With the clustering loss this is SuperCM on its own; with a target domain
it is what the field calls source only.
"""

from __future__ import annotations

from supercm_ray.algorithms.base import Step, Terms, register


@register("supervised")
def supervised(step: Step) -> Terms:
    """No term."""
    return {}
