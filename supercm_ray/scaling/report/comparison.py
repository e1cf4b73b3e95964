"""Two scaling studies side by side, as text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from supercm_ray.report.tables import aligned
from supercm_ray.scaling import Analysis, Raw
from supercm_ray.scaling.report.plots import time_unit
from supercm_ray.scaling.report.sentences import law_sentence, search_sentence

_NAMES = ("A", "B")


def compare_text(first: Analysis, second: Analysis) -> str:
    """Two studies side by side in what both measured; `B/A` is the ratio of medians."""
    both = (first, second)
    titles = [f"{name}  {_title(one.raw)}" for name, one in zip(_NAMES, both, strict=True)]
    cautions = [f"Caution: {text}" for text in _differences(first.raw, second.raw)]
    tables = [table for table in (_counts(*both), _searches(*both)) if table]
    said = [f"{name}: {text}" for name, one in zip(_NAMES, both, strict=True) for text in _said(one)]
    return "\n\n".join(
        "\n".join(part)
        for part in ([*titles, *cautions], *(tables or [["No count was measured in both."]]), said)
        if part
    )


def _title(raw: Raw) -> str:
    commits = ", ".join(commit[:10] for commit in raw.commit.split(", ")) or "unknown"
    return f"{raw.study}, {raw.mode} scaling, commit {commits}: {raw.command}"


def _differences(first: Raw, second: Raw) -> Iterator[str]:
    """What speaks against setting one's figures against the other's."""
    if first.mode != second.mode:
        yield f"the batch of a step differs by count, for A is {first.mode} and B {second.mode} scaling."
    if first.commit != second.commit:
        yield f"measured at different commits, {first.commit or 'unknown'} and {second.commit or 'unknown'}."
    names = sorted({*first.versions, *second.versions})
    pairs = {name: (first.versions.get(name, "none"), second.versions.get(name, "none")) for name in names}
    changed = [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]
    if changed:
        yield f"measured with different versions: {', '.join(changed)}."
    if set(first.hosts) != set(second.hosts):
        yield "measured on different machines."
    if first.placement != second.placement:
        yield f"workers were placed differently, {first.placement} and {second.placement}."


def _counts(first: Analysis, second: Analysis) -> list[str]:
    common = sorted(set(first.throughputs) & set(second.throughputs))
    if not common:
        return []
    unit, factor = time_unit([row.hours for one in (first, second) for row in one.costs])
    priced = all(one.raw.price is not None for one in (first, second))
    names = ["efficiency %", f"job {unit}", "money" if priced else f"worker {unit}"]
    rows = [["workers", "A rows/s", "B rows/s", "B/A", "apart", *(f"{x} {name}" for name in names for x in _NAMES)]]
    rows += [_count_row(count, first, second, factor, priced=priced) for count in common]
    return [aligned(rows), "apart: no repetition of one lies among those of the other"]


def _count_row(count: int, first: Analysis, second: Analysis, factor: float, *, priced: bool) -> list[str]:
    a, b = first.throughputs[count], second.throughputs[count]
    medians = statistics.median(a), statistics.median(b)
    apart = "yes" if min(a) > max(b) or min(b) > max(a) else "no"
    costs = [next(row for row in one.costs if row.count == count) for one in (first, second)]
    spent: list[Any] = [row.money if priced else row.gpu_hours * factor for row in costs]
    return [
        str(count),
        *(f"{value:.1f}" for value in medians),
        f"{medians[1] / medians[0]:.3f}",
        apart,
        *(f"{100 * row.efficiency:.1f}" for row in costs),
        *(f"{row.hours * factor:.2f}" for row in costs),
        *(f"{value:.4g}" for value in spent),
    ]


def _searches(first: Analysis, second: Analysis) -> list[str]:
    ours, theirs = (
        {(one.trials_at_once, one.gpus_per_trial): one.trials_per_hour for one in study.tuning}
        for study in (first, second)
    )
    rows = [["trials at once", "GPU a trial", "A trials/hour", "B trials/hour", "B/A"]]
    rows += [
        [str(pair[0]), f"{pair[1]:g}", f"{ours[pair]:.1f}", f"{theirs[pair]:.1f}", f"{theirs[pair] / ours[pair]:.3f}"]
        for pair in ours
        if pair in theirs
    ]
    return [aligned(rows)] if len(rows) > 1 else []


def _said(found: Analysis) -> Iterator[str]:
    if found.choice:
        yield found.choice.sentence
    if found.tuning:
        yield search_sentence(found.tuning)
    if found.fits:
        yield law_sentence(found.leading)
