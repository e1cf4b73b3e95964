"""Advises how many labels an accuracy needs, from the learning curve of studies and trained runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supercm_ray.advising.answers import Answer, answer, default_targets
from supercm_ray.advising.fit import CurveFit, Estimate, fit_curve
from supercm_ray.advising.points import Points, points_of
from supercm_ray.advising.sources import LABEL_PATHS, Source, find_source
from supercm_ray.config import FREE_TO_CHANGE
from supercm_ray.errors import StudyError


@dataclass(frozen=True)
class Advice:
    """How many labels each target accuracy needs.

    Attributes:
        titles: the studies and runs that the learning curve is made from.
        points: its accuracies by number of labels.
        fit: the curves that these allow.
        answers: one for each target.
        with_all: the accuracy, from 0 to 1, with all known labels; None if their number is not known.
        highest: the accuracy, from 0 to 1, that no number of labels improves on.
        num_known: number of samples with a known label to train on, those labeled already included; None if it is not
            known.
        differing: dotted paths, apart from the number of labels, whose values differ between the studies and runs.
    """

    titles: tuple[str, ...]
    points: Points
    fit: CurveFit = field(repr=False)
    answers: tuple[Answer, ...]
    with_all: Estimate | None
    highest: Estimate
    num_known: int | None
    differing: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, for a terminal of 80 columns."""
        from supercm_ray.advising.text import advice_text

        return advice_text(self)

    @property
    def tree(self) -> dict[str, object]:
        """All of it but the curves, as values that JSON has a form for; infinite numbers stay infinite."""
        from supercm_ray.advising.tree import advice_tree

        return advice_tree(self)


def advise(names: Sequence[str], *, target: float | None = None, results: Path) -> Advice:
    """Advises how many labels an accuracy needs (see `supercm_ray.advise`)."""
    if not names:
        raise StudyError("a study to advise on must be named, got none; name one or several")
    if target is not None and not 0 < target < 1:
        remedy = f"; did you mean {target / 100:g}?" if 1 < target < 100 else "; give a fraction such as 0.95"
        raise StudyError(f"a target must be an accuracy between 0 and 1, got {target:g}{remedy}")
    sources = [find_source(name, results) for name in dict.fromkeys(names)]
    points = points_of(sources)
    fit = fit_curve(points.errors, num_samples=points.num_samples)
    num_known = _num_known(sources)
    targets = default_targets(points) if target is None else (target,)
    return Advice(
        titles=tuple(source.title for source in sources),
        points=points,
        fit=fit,
        answers=tuple(answer(one, fit, points, num_known) for one in targets),
        with_all=None if num_known is None else _accuracy(fit.error(num_known)),
        highest=_accuracy(fit.asymptote),
        num_known=num_known,
        differing=_differing(sources),
    )


def _accuracy(error: Estimate) -> Estimate:
    return Estimate(1 - error.value, 1 - error.high, 1 - error.low)


def _num_known(sources: Sequence[Source]) -> int | None:
    """Returns the number of samples with a known label to train on; None where it cannot be told from the records.

    With a label ratio it is the number of labels trained on divided by the ratio. Without one it is the number of
    samples that are neither test nor validation samples, where none belong to another domain.
    """
    runs = [run.record for source in sources for run in (*source.finished, *source.trials)]
    for source in sources:
        counts, data = source.data.counts, runs[0].params
        if counts and data.get("data.target.name") is None and data.get("data.splits") is None:
            training = counts.get("unlabeled", 0)
            training += 0 if data.get("data.labeled_in_unlabeled") else counts.get("labeled", 0)
            return training - source.data.num_unknown
    ratios = [(one.num_labeled, one.params.get(LABEL_PATHS[0])) for one in runs]
    known = [count / ratio for count, ratio in ratios if isinstance(ratio, float) and ratio > 0]
    return round(known[-1]) if known else None


def _differing(sources: Sequence[Source]) -> tuple[str, ...]:
    """Returns the paths of settings that differ between sources; what one study searches is not among them."""
    params = [run.record.params for source in sources for run in source.finished[:1] or source.trials[:1]]
    searched = {path for source in sources for path in source.searched}
    paths = dict.fromkeys(path for one in params for path in one)
    ignored = {"seed", *LABEL_PATHS, *FREE_TO_CHANGE, *searched}
    return tuple(path for path in paths if path not in ignored and len({str(one.get(path)) for one in params}) > 1)
