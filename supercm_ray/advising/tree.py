"""Advice as values for JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING

from supercm_ray.advising.fit import LEVEL

if TYPE_CHECKING:
    from supercm_ray.advising.advise import Advice


def advice_tree(advice: Advice) -> dict[str, object]:
    """Returns advice as mappings, lists and numbers; accuracies are from 0 to 1."""
    points = advice.points
    return {
        "studies": list(advice.titles),
        "split": points.split,
        "origin": points.origin,
        "level": LEVEL,
        "num_known": advice.num_known,
        "points": [{**asdict(point), "mean": statistics.mean(point.accuracies)} for point in points.points],
        "answers": [asdict(one) for one in advice.answers],
        "accuracy_with_all": None if advice.with_all is None else asdict(advice.with_all),
        "highest_accuracy": asdict(advice.highest),
        "models": dict(advice.fit.weights),
        "differing_settings": list(advice.differing),
    }
