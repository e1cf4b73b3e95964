"""How many labels each target accuracy needs, and whether there are as many."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from supercm_ray.advising.fit import CurveFit, Estimate
from supercm_ray.advising.points import Points

Verdict = Literal["enough", "perhaps more than you have", "more than you have", "not reached by this curve", "unknown"]

TRUSTED_FACTOR = 10
"""A number of labels above this times the largest one measured is further than `benchmarks/advise.py` has checked."""

_PARTS = (0.75, 0.5, 0.25)  # of the error at the largest number of labels, that are targets if none is given


@dataclass(frozen=True)
class Answer:
    """What a target accuracy needs.

    Attributes:
        target: the accuracy, from 0 to 1.
        labels: number of labels trained on, infinite where the target is not reached, with its interval.
        all_labels: that number with the labels for validation, likewise.
        reached: probability that the curve reaches the target with any number of labels.
        reached_with_known: probability that it does so with the labels at hand; None if their number is not known.
        measured: whether the number is not above the largest one measured.
        beyond: whether it is finite and so far above that the interval has not been checked there.
        verdict: whether there are as many labels, and perhaps not if only the upper bound is more; `unknown` if it is
            not known how many there are.
    """

    target: float
    labels: Estimate
    all_labels: Estimate
    reached: float
    reached_with_known: float | None
    measured: bool
    beyond: bool
    verdict: Verdict


def default_targets(points: Points) -> tuple[float, ...]:
    """Returns the accuracies with three quarters, half and a quarter of the error at the most labels measured."""
    error = 1 - statistics.mean(points.points[-1].accuracies)
    floor = 1 / points.num_samples if points.num_samples else 1e-3  # nearer to 1 than a split of this size can tell
    return tuple(dict.fromkeys(round(1 - max(part * error, floor), 3 if error > 0.02 else 4) for part in _PARTS))


def answer(target: float, fit: CurveFit, points: Points, num_known: int | None) -> Answer:
    """Answers how many labels an accuracy from 0 to 1 needs, with `num_known` labels at hand to train on."""
    last = points.points[-1]
    needed = fit.num_labels(1 - target)
    labels = Estimate(*(_whole(one) for one in (needed.value, needed.low, needed.high)))
    num_val = last.label_budget - last.num_labeled
    return Answer(
        target=target,
        labels=labels,
        all_labels=Estimate(labels.value + num_val, labels.low + num_val, labels.high + num_val),
        reached=fit.reached(1 - target),
        reached_with_known=None if num_known is None else fit.reached(1 - target, num_known),
        measured=labels.value <= last.num_labeled,
        beyond=TRUSTED_FACTOR * last.num_labeled < labels.value < math.inf,
        verdict=_verdict(labels, num_known),
    )


def _whole(number: float) -> float:
    """Rounds up to a number of labels, at least 1, to three digits."""
    if math.isinf(number):
        return number
    unit = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 2)
    return float(max(1, unit * math.ceil(number / unit)))


def _verdict(labels: Estimate, num_known: int | None) -> Verdict:
    if math.isinf(labels.value):
        return "not reached by this curve"
    if num_known is None:
        return "unknown"
    if labels.value > num_known:
        return "more than you have"
    return "perhaps more than you have" if labels.high > num_known else "enough"
