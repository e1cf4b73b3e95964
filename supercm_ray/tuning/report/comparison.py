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
    table = [["group", "arm", "A test %", "B test %", "B - A", "A gain", "B gain", "gain B - A"]]
    for place in common:
        a, b = ours[place], theirs[place]
        table.append([*place, *_pair(a.test_accuracy, b.test_accuracy), *_pair(gain(a), gain(b))])
    note = "In percent and points, mean ± std over seeds; gain: tuned minus baseline."
    return "\n".join([*lines, "", aligned(table), note])


def _place(view: StudyView, row: Row) -> tuple[str, str]:
    group = zip(view.study.group_paths, row.group, strict=True)
    return ", ".join(f"{path}={value_text(value)}" for path, value in group) or "all", row.arm


def _pair(one: MeanStd, other: MeanStd) -> list[str]:
    difference = "–" if one is None or other is None else f"{100 * (other[0] - one[0]):+.1f}"
    return [_text(one), _text(other), difference]


def _text(value: MeanStd) -> str:
    if value is None:
        return "–"
    std = "" if math.isnan(value[1]) else f" ± {100 * value[1]:.1f}"  # NaN where there is one seed
    return f"{100 * value[0]:.1f}{std}"
