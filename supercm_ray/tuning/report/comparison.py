"""Two tuned studies side by side, as text."""

from __future__ import annotations

import math

from supercm_ray.reporting.tables import aligned
from supercm_ray.search import Row, StudyView
from supercm_ray.tuning.report.text import gain, value_text

MeanStd = tuple[float, float] | None
"""Mean and standard deviation over seeds, or None where there is none."""


def compare_tuned(first: StudyView, second: StudyView) -> str:
    """Compares the rows that both tables have, with their differences."""
    lines = [f"{name}  {view.study.name}, study {view.folder.study_id}" for name, view in (("A", first), ("B", second))]
    ours, theirs = ({_place(view, row): row for row in view.rows} for view in (first, second))
    common = [place for place in ours if place in theirs]
    if not common:
        return "\n".join([*lines, "", "No group and arm stand in both tables."])
    alone = all(ours[place].test_accuracy is theirs[place].test_accuracy is None for place in common)
    split = "val" if alone else "test"
    table = [["group", "arm", f"A {split} %", f"B {split} %", "B - A", "A gain", "B gain", "gain B - A"]]
    for place in common:
        a, b = ours[place], theirs[place]
        alike = (a.test_accuracy is None) == (b.test_accuracy is None)
        accuracies = (a.val_accuracy, b.val_accuracy) if alone else (a.test_accuracy, b.test_accuracy)
        table.append([*place, *_pair(*accuracies), *_pair(gain(a), gain(b), alike=alike)])
    note = "In percent and points, mean ± std over seeds; gain: tuned minus baseline."
    notes = [text for name, view in (("A", first), ("B", second)) for text in _about(name, view)]
    return "\n".join([*lines, "", aligned(table), note, *notes])


def _about(name: str, view: StudyView) -> list[str]:
    """Returns sentences on how a study was tested, where it was not on samples held out."""
    found = []
    if all(row.test_accuracy is None for row in view.rows):
        found.append(f"{name} has no test split: its gains are those on the validation split.")
    if view.study.base.data.transductive:
        found.append(f"{name} is transductive: its test samples are unlabeled training samples.")
    return found


def _place(view: StudyView, row: Row) -> tuple[str, str]:
    group = zip(view.study.group_paths, row.group, strict=True)
    return ", ".join(f"{path}={value_text(value)}" for path, value in group) or "all", row.arm


def _pair(one: MeanStd, other: MeanStd, *, alike: bool = True) -> list[str]:
    """Returns both values and their difference, which is left out unless they are of the same split."""
    difference = "–" if one is None or other is None or not alike else f"{100 * (other[0] - one[0]):+.1f}"
    return [_text(one), _text(other), difference]


def _text(value: MeanStd) -> str:
    if value is None:
        return "–"
    std = "" if math.isnan(value[1]) else f" ± {100 * value[1]:.1f}"  # NaN where there is one seed
    return f"{100 * value[0]:.1f}{std}"
