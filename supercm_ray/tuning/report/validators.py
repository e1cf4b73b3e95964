"""How well the metrics that use no target label have ranked the trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import spearmanr

from supercm_ray.config import VAL_METRICS
from supercm_ray.records import RunView
from supercm_ray.training import VALIDATORS

_FEWEST = 4


def rank_correlations(trials: Sequence[RunView]) -> dict[str, float]:
    """Computes Spearman's rank correlation of each metric that may select trials with the oracle's accuracy, with a
    sign such that more is better.

    Uses trials with their full budget, best first; empty if there is no oracle, or fewer than four such trials.
    """
    ended = [view.metrics for view in trials if view.record.status == "complete" and "oracle/accuracy" in view.metrics]
    if len(ended) < _FEWEST or len({metrics["oracle/accuracy"] for metrics in ended}) < 2:
        return {}
    oracle = [metrics["oracle/accuracy"] for metrics in ended]
    found = {}
    registered = {name: entry.direction for name, entry in VALIDATORS.entries().items()}
    for name, direction in {**registered, **VAL_METRICS}.items():
        if not all(name in metrics for metrics in ended):  # of a plug-in that has come or gone
            continue
        values = [metrics[name] if direction == "maximize" else -metrics[name] for metrics in ended]
        if len(set(values)) > 1:
            found[name] = float(spearmanr(values, oracle).statistic)
    return dict(sorted(((name, value) for name, value in found.items() if math.isfinite(value)), key=lambda p: -p[1]))
