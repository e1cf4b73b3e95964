"""Two scaling studies side by side, as text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from supercm_ray.reporting.tables import aligned
from supercm_ray.scaling.analysis import Analysis
from supercm_ray.scaling.cost import Cost
from supercm_ray.scaling.measurements import Measurements
from supercm_ray.scaling.report.sentences import model_sentence, search_sentence
from supercm_ray.scaling.report.units import time_unit

_NAMES = ("A", "B")


def compare_text(first: Analysis, second: Analysis) -> str:
    """Compares what both studies measured; `B/A` is the ratio of medians."""
    both = (first, second)
    titles = [f"{name}  {_title(one.measured)}" for name, one in zip(_NAMES, both, strict=True)]
    cautions = [f"Caution: {text}" for text in _differences(first.measured, second.measured)]
    tables = [table for table in (_workers(*both), _searches(*both)) if table]
    said = [f"{name}: {text}" for name, one in zip(_NAMES, both, strict=True) for text in _said(one)]
    return "\n\n".join(
        "\n".join(part)
        for part in ([*titles, *cautions], *(tables or [["No number of workers was measured in both."]]), said)
        if part
    )


def _title(measured: Measurements) -> str:
    commits = ", ".join(commit[:10] for commit in measured.commit.split(", ")) or "unknown"
    return f"{measured.study}, {measured.mode} scaling, commit {commits}: {measured.command}"


def _differences(first: Measurements, second: Measurements) -> Iterator[str]:
    """Lists the differences between two studies that make their numbers incomparable."""
    if first.mode != second.mode:
        yield f"the batch of a step differs by number of workers, for A is {first.mode} and B {second.mode} scaling."
    if first.commit != second.commit:
        yield f"measured at different commits, {first.commit or 'unknown'} and {second.commit or 'unknown'}."
    names = sorted({*first.versions, *second.versions})
    pairs = {name: (first.versions.get(name, "none"), second.versions.get(name, "none")) for name in names}
    changed = [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]
    if changed:
        yield f"measured with different versions: {', '.join(changed)}."
    if set(first.nodes) != set(second.nodes):
        yield "measured on different nodes."
    if first.placement != second.placement:
        yield f"workers were placed differently, {first.placement} and {second.placement}."


def _workers(first: Analysis, second: Analysis) -> list[str]:
    common = sorted(set(first.throughputs) & set(second.throughputs))
    if not common:
        return []
    unit, factor = time_unit([cost.hours for one in (first, second) for cost in one.costs])
    priced = all(one.measured.price_per_gpu_hour is not None for one in (first, second))
    names = ["efficiency %", f"job {unit}", "money" if priced else f"worker {unit}"]
    rows = [
        ["workers", "A samples/s", "B samples/s", "B/A", "disjoint", *(f"{x} {name}" for name in names for x in _NAMES)]
    ]
    rows += [_workers_row(count, first, second, factor, priced=priced) for count in common]
    return [aligned(rows), "disjoint: the ranges of their repetitions do not overlap"]


def _workers_row(num_workers: int, first: Analysis, second: Analysis, factor: float, *, priced: bool) -> list[str]:
    a, b = first.throughputs[num_workers], second.throughputs[num_workers]
    medians = statistics.median(a), statistics.median(b)
    disjoint = "yes" if min(a) > max(b) or min(b) > max(a) else "no"
    costs = [next(cost for cost in one.costs if cost.num_workers == num_workers) for one in (first, second)]
    return [
        str(num_workers),
        *(f"{value:.1f}" for value in medians),
        f"{medians[1] / medians[0]:.3f}",
        disjoint,
        *(f"{100 * cost.efficiency:.1f}" for cost in costs),
        *(f"{cost.hours * factor:.2f}" for cost in costs),
        *(f"{_spent(cost, factor, priced=priced):.4g}" for cost in costs),
    ]


def _spent(cost: Cost, factor: float, *, priced: bool) -> float:
    """Returns the cost of the job: money, or workers times hours."""
    return cost.money if priced and cost.money is not None else cost.gpu_hours * factor


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
        yield model_sentence(found.leading)
