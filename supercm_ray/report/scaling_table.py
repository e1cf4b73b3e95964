"""The table of a scaling study, as text and as a tree that JSON can hold, and two studies side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from supercm_ray.report.scaling_plots import time_unit
from supercm_ray.scaling import LEAST_COUNTS, TRUSTED_FACTOR, Analysis, Cost, Fit, Point

SIMULATED_NOTE = "Simulated, not measured"
PARTS_NOTE = (
    "Steps are timed whole, as in training. The parts come from as many further steps that are taken apart, in which "
    "communication does not overlap computing: comm. is time in collectives once all workers are there, waiting is "
    "time until the slowest is there, data is time until a batch is there, compute is the rest."
)


def headings(found: Analysis) -> list[str]:
    """Columns of the table of counts."""
    unit, _ = time_unit([row.hours for row in found.costs] or [0.0])
    money = ["money"] if found.raw.price is not None else []
    parts = ["compute %", "comm. %", "waiting %", "data %"]
    names = ["workers", "step ms (quartiles)", "labeled/s", "unlabeled/s", "speed-up", "efficiency %", *parts]
    return [*names, "start-up s", "memory MiB", "busy %", f"job {unit}", f"worker {unit}", *money]


def cells(found: Analysis) -> list[list[str]]:
    """The table's rows as text."""
    unit = time_unit([row.hours for row in found.costs] or [0.0])[1]
    return [_cells(point, cost, unit) for point, cost in zip(found.points, found.costs, strict=True)]


def table_text(found: Analysis) -> str:
    """The table and what follows from it, for a terminal."""
    parts = [aligned([headings(found), *cells(found)])] if found.points else []
    parts += ["\n".join(f"not measured, {what}: {why}" for what, why in sorted(found.raw.skipped.items()))]
    if found.tuning:
        rows = [["trials at once", "GPU a trial", "trials/hour", "searches"], *tuning_cells(found)]
        parts.append(aligned(rows))
    parts += [PARTS_NOTE] if found.points else []
    return "\n\n".join(part for part in [*parts, "\n".join(sentences(found))] if part)


def tuning_cells(found: Analysis) -> list[list[str]]:
    """The rows of the table of searches as text."""
    return [
        [str(one.trials_at_once), f"{one.gpus_per_trial:g}", f"{one.trials_per_hour:.1f}", str(one.num_repetitions)]
        for one in found.tuning
    ]


def sentences(found: Analysis) -> list[str]:
    """What the study says, in words; what goes beyond measurements is marked as such."""
    said = [found.choice.sentence] if found.choice else []
    if found.fits:
        said.append(_law_sentence(found.fits))
    elif found.points:
        said.append(f"No law is fitted to fewer than {LEAST_COUNTS} counts, and nothing is predicted.")
    for count, noise in found.noise.items():
        scale = "not determined by so few steps" if noise.rows is None else f"about {noise.rows:.0f} rows"
        said.append(f"Gradient noise scale at {count} workers, over {noise.num_steps} steps: {scale}.")
    if found.noise:
        said.append("Batches far above the noise scale save few steps (arXiv 1812.06162).")
    for count, seconds in found.seconds_to_target.items():
        said.append(
            f"To a validation accuracy of {found.raw.target_accuracy} with {count} at work: {seconds.sentence('s')}."
        )
    for one in found.simulated:
        said.append(
            f"{SIMULATED_NOTE}: {one.count} workers, {one.reduction} all-reduce, {1000 * one.step_s:.2f} ms a step "
            f"({1000 * one.exposed_s:.2f} of them communication)."
        )
    return said


def table_tree(found: Analysis) -> dict[str, Any]:
    """Every figure shown, unrounded."""
    return {
        "study": found.raw.study,
        "mode": found.raw.mode,
        "counts": [asdict(point) | asdict(cost) for point, cost in zip(found.points, found.costs, strict=True)],
        "laws": [
            {"law": fit.law, "parameters": fit.parameters, "intervals": fit.intervals, "best": fit is found.fits[0]}
            for fit in found.fits
        ],
        "choice": asdict(found.choice) if found.choice else None,
        "noise_scale": {str(count): asdict(noise) for count, noise in found.noise.items()},
        "seconds_to_target": {str(count): asdict(one) for count, one in found.seconds_to_target.items()},
        "rows_to_target": {str(count): asdict(one) for count, one in found.rows_to_target.items()},
        "tuning": [asdict(one) for one in found.tuning],
        "simulated": [asdict(one) | {"step_s": one.step_s} for one in found.simulated],
        "skipped": dict(found.raw.skipped),
        "sentences": sentences(found),
    }


def compare_text(first: Analysis, second: Analysis) -> str:
    """Two studies side by side at the counts that both measured; `B/A` is the ratio of medians."""
    lines = [f"A  {_title(first)}", f"B  {_title(second)}"]
    if first.raw.hosts != second.raw.hosts:
        lines.append("They were measured on different machines.")
    common = sorted(set(first.throughputs) & set(second.throughputs))
    if not common:
        return "\n".join([*lines, "", "No count was measured in both."])
    rows = [["workers", "A rows/s", "B rows/s", "B/A", "apart", "A efficiency %", "B efficiency %"]]
    efficiency = [{row.count: row.efficiency for row in one.costs} for one in (first, second)]
    for count in common:
        a, b = first.throughputs[count], second.throughputs[count]
        medians = statistics.median(a), statistics.median(b)
        apart = "yes" if min(a) > max(b) or min(b) > max(a) else "no"
        shares = [f"{100 * one[count]:.1f}" for one in efficiency]
        rows.append(
            [str(count), f"{medians[0]:.1f}", f"{medians[1]:.1f}", f"{medians[1] / medians[0]:.3f}", apart, *shares]
        )
    note = "apart: no repetition of one lies among those of the other"
    choices = [f"{name}: {one.choice.sentence}" for name, one in (("A", first), ("B", second)) if one.choice]
    return "\n".join([*lines, "", aligned(rows), note, "", *choices])


def _title(found: Analysis) -> str:
    raw = found.raw
    return f"{raw.study}, {raw.mode} scaling, commit {raw.commit[:10] or 'unknown'}: {raw.command}"


def _cells(point: Point, cost: Cost, unit: float) -> list[str]:
    low, median, high = (f"{1000 * value:.2f}" for value in point.step_s)
    shares = [f"{100 * share:.1f}" for share in point.shares.values()]
    busy = "–" if point.utilisation is None else f"{100 * point.utilisation:.0f}"
    memory = f"{point.peak_memory_bytes / 2**20:.0f}" if point.peak_memory_bytes else "–"
    speed = [f"{point.labeled_per_s:.1f}", f"{point.unlabeled_per_s:.1f}", f"{cost.speedup:.2f}"]
    bill = [f"{cost.hours * unit:.2f}", f"{cost.gpu_hours * unit:.2f}"]
    bill += [f"{cost.money:.4g}"] if cost.money is not None else []
    rest = [*shares, f"{point.startup_s:.1f}", memory, busy, *bill]
    return [str(point.count), f"{median} ({low}–{high})", *speed, f"{100 * cost.efficiency:.1f}", *rest]


def _law_sentence(fits: Sequence[Fit]) -> str:
    best = fits[0]
    values = ", ".join(
        f"{name} = {best.parameters[name]:.4g} ({low:.4g} to {high:.4g})"
        for name, (low, high) in best.intervals.items()
    )
    limit = TRUSTED_FACTOR * best.largest
    twice = best.predict(limit)
    return (
        f"The law that fits best is {best.law}: {values}, 95 % intervals. Extrapolated, {limit} workers would do "
        f"{twice.throughput:.1f} rows/s ({twice.low:.1f} to {twice.high:.1f}); beyond that nothing is predicted."
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first of them headings, as text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
