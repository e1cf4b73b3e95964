"""How well the metrics that use no target label have ranked the trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import spearmanr

from supercm_ray.records import RunView

_BETTER = {
    "val/accuracy": 1.0,
    "val/loss": -1.0,
    "target/entropy": -1.0,
    "target/information_maximisation": 1.0,
    "target/snd": 1.0,
    "target/distortion": -1.0,
}
"""Each metric, with 1 if a larger value is better, else -1."""

_FEWEST = 4


def rank_correlations(trials: Sequence[RunView]) -> dict[str, float]:
    """Computes Spearman's rank correlation of each metric with the oracle's accuracy, with a sign such that more is
    better.

    Uses trials with their full budget, best first; empty if there is no oracle, or fewer than four such trials.
    """
    ended = [view.metrics for view in trials if view.record.status == "complete" and "oracle/accuracy" in view.metrics]
    if len(ended) < _FEWEST or len({metrics["oracle/accuracy"] for metrics in ended}) < 2:
        return {}
    oracle = [metrics["oracle/accuracy"] for metrics in ended]
    found = {}
    for name, sign in _BETTER.items():
        values = [sign * metrics[name] for metrics in ended]
        if len(set(values)) > 1:
            found[name] = float(spearmanr(values, oracle).statistic)
    return dict(sorted(((name, value) for name, value in found.items() if math.isfinite(value)), key=lambda p: -p[1]))
