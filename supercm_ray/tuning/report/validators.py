"""How well the metrics that use no target label have ranked the trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm, spearmanr

from supercm_ray.config import VAL_METRICS
from supercm_ray.records import RunView
from supercm_ray.reporting.significance import LEVEL
from supercm_ray.training import VALIDATORS

_FEWEST = 4


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two metrics.

    Attributes:
        value: from -1 to 1.
        low, high: the ends of its 95 % interval.
        num_trials: number of trials it is computed from.
    """

    value: float
    low: float
    high: float
    num_trials: int


def rank_correlations(trials: Sequence[RunView]) -> dict[str, RankCorrelation]:
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
            found[name] = rank_correlation(values, oracle)
    finite = [(name, one) for name, one in found.items() if math.isfinite(one.value)]
    return dict(sorted(finite, key=lambda pair: -pair[1].value))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Computes Spearman's rank correlation of at least four pairs of values, with an interval that takes the pairs for
    independent draws.

    The interval is that of Fisher's z with the variance (1 + rho^2 / 2) / (n - 3). For two equal orders, which have no
    finite z, it begins where that of orders with one pair of neighbours exchanged does.

    Source: Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 65.
    """
    value, n = float(spearmanr(first, second).statistic), len(first)
    inner = math.copysign(min(abs(value), 1 - 12 / (n * (n**2 - 1))), value)
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt((1 + inner**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(inner) + side * half) for side in (-1, 1))
    return RankCorrelation(value, min(low, value), max(high, value), n)
