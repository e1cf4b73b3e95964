"""Advice as text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from supercm_ray.advising.answers import TRUSTED_FACTOR, Answer
from supercm_ray.advising.fit import LEVEL, Estimate
from supercm_ray.reporting.tables import aligned, mean_std

if TYPE_CHECKING:
    from supercm_ray.advising.advise import Advice

WIDTH = 80
"""Columns of the text."""

POINT_HEADINGS = ("labels", "all labels", "accuracy %", "runs")
ANSWER_HEADINGS = ("target %", "labels", f"{LEVEL:.0%} interval", "all labels")
_SPLITS = {"test": "test split", "val": "validation split"}
_SAID = {"enough": "you have as many", "unknown": ""}
_ORIGINS = {
    "finished": "runs on fresh seeds",
    "trials": "the best trial of each number of labels, which flatters, since that chose it",
}


def advice_text(advice: Advice) -> str:
    """Formats advice for a terminal."""
    points = [
        (str(point.num_labeled), str(point.label_budget), mean_std(point.accuracies), str(len(point.accuracies)))
        for point in advice.points.points
    ]
    parts = [
        *(_wrapped(title) for title in advice.titles),
        "",
        aligned([POINT_HEADINGS, *points]),
        "",
        aligned([ANSWER_HEADINGS, *map(answer_cells, advice.answers)]),
        "",
        *map(_wrapped, sentences(advice)),
    ]
    return "\n".join(parts)


def answer_cells(answer: Answer) -> tuple[str, ...]:
    """Returns the cells of an answer under `ANSWER_HEADINGS`."""
    return (
        _percent(answer.target),
        number_text(answer.labels.value),
        interval_text(answer.labels),
        number_text(answer.all_labels.value),
    )


def sentences(advice: Advice) -> Iterator[str]:
    """Says what the answers mean, and how they were made."""
    yield from (_verdict(one, advice) for one in advice.answers)
    if advice.num_known is not None and advice.with_all is not None:
        known, accuracy = number_text(advice.num_known), _accuracy(advice.with_all)
        yield f"You have {known} known labels to train on; with all of them the accuracy is {accuracy}."
    yield f"With ever more labels the accuracy comes to {_accuracy(advice.highest)}."
    origin = _ORIGINS[advice.points.origin]
    yield (
        f"Accuracy: on the {_SPLITS[advice.points.split]}, of {origin}. Labels: those trained on; all labels: with "
        "those for validation."
    )
    yield f"Intervals of {LEVEL:.0%} are for the mean of as many seeds, averaged over {_models(advice)}."
    if advice.differing:
        yield f"Beside the number of labels the studies differ in {', '.join(advice.differing)}."


def _verdict(answer: Answer, advice: Advice) -> str:
    target = f"{_percent(answer.target)} %"
    if answer.verdict == "not reached by this curve":
        at_least = f"with at least {number_text(answer.labels.low)} labels if at all"
        parts = ["not reached by this curve", at_least if math.isfinite(answer.labels.low) else "", _chance(answer)]
        return f"{target}: {'; '.join(filter(None, parts))}."
    needs = f"{target}: {number_text(answer.labels.value)} labels"
    has = _SAID.get(answer.verdict, answer.verdict)
    if answer.measured:
        has = "no more than were measured"
    parts = [needs, has]
    if answer.beyond:
        parts.append(f"over {TRUSTED_FACTOR} times the most measured, where the interval was not checked")
    return "; ".join(filter(None, [*parts, _chance(answer)])) + "."


def _chance(answer: Answer) -> str:
    """Says how many of the curves reach the target with the labels at hand, or with any number; empty for all."""
    chance, labels = answer.reached, "any number"
    if answer.reached_with_known is not None:
        chance, labels = answer.reached_with_known, "those you have"
    return f"{chance:.0%} of the curves reach it with {labels}" if chance < 0.995 else ""


def _accuracy(accuracy: Estimate) -> str:
    low, middle, high = (f"{100 * one:.1f}" for one in (accuracy.low, accuracy.value, accuracy.high))
    return f"{middle} % ({low} to {high})"


def _models(advice: Advice) -> str:
    """Names the models of the curve with their probabilities, the most probable first."""
    weights = sorted(advice.fit.weights.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{model} ({weight:.0%})" for model, weight in weights)


def interval_text(labels: Estimate) -> str:
    """Formats the interval of a number of labels."""
    if math.isinf(labels.low):
        return "none"
    return f"{number_text(labels.low)} to {number_text(labels.high) if math.isfinite(labels.high) else 'no limit'}"


def number_text(number: float) -> str:
    """Formats a number of labels; a dash for an infinite one."""
    if math.isinf(number):
        return "–"
    return f"{number:,.0f}" if number < 1e9 else f"{number:.0e}"


def _percent(accuracy: float) -> str:
    """Formats an accuracy in percent, with as many digits as tell it from 100."""
    digits = 1 if accuracy <= 0.999 else 2
    return f"{100 * accuracy:.{digits}f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
