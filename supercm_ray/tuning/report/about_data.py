"""Sentences about a study's data that its figures must be read with."""

from __future__ import annotations

from supercm_ray.config import Study
from supercm_ray.records import DataSummary
from supercm_ray.tuning.report.classes import majority


def about_data(study: Study, summary: DataSummary, *, has_result: bool = False) -> tuple[str, ...]:
    """Returns the sentences: how many samples of each kind there are, whether there is a test split and an oracle, what
    stands in its place if a tuned finalist has finished, and the notes of the data.
    """
    largest = majority(summary.val_class_counts, summary.class_names)
    unbalanced = [largest.sentence] if largest and largest.sentence else []
    notes = (f"{note[:1].upper()}{note[1:]}." for note in summary.notes)
    is_predicted = has_result and not summary.has_test and summary.counts.get("unlabeled", 0) > 0
    predicted = ["predictions.csv has the best run's predictions for the unlabeled samples."] if is_predicted else []
    return (*_counts(summary), *unbalanced, *_about_test(study, summary), *predicted, *notes)


def _counts(summary: DataSummary) -> list[str]:
    if not summary.counts:
        return []
    kinds = {"labeled": "labeled", "unlabeled": "unlabeled", "val": "validation", "test": "test"}
    counted = ", ".join(f"{summary.counts.get(name, 0)} {words}" for name, words in kinds.items())
    unknown = f"; the labels of {summary.num_unknown} samples are not known" if summary.num_unknown else ""
    return [f"Samples under the base configuration: {counted}{unknown}."]


def _about_test(study: Study, summary: DataSummary) -> list[str]:
    data, found = study.base.data, []
    if not summary.counts:
        return []
    if data.transductive:
        found.append(
            "Transductive: the test samples are the target's training samples, whose labels no training step and no "
            "selection has read."
        )
    if not summary.has_test and data.target is not None:
        found.append(
            "There is no test split: accuracies and gains are those on the source's validation samples and say little "
            "of the target."
        )
    elif not summary.has_test:
        found.append(
            "There is no test split: accuracies and gains are those on the validation split, by which the parameters "
            "were chosen, and are therefore likely to be too high."
        )
    if data.target is not None and not summary.num_oracle and not data.transductive:
        found.append("No unlabeled sample of the target has a known label, so there is no oracle.")
    return found
