"""The table of a scaling study, as text and as a tree that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from supercm_ray.report.tables import aligned
from supercm_ray.scaling import Analysis, Cost, Point
from supercm_ray.scaling.report.plots import time_unit
from supercm_ray.scaling.report.sentences import sentences

PARTS_NOTE = (
    "Steps are timed whole, as in training. The parts come from as many further steps that are taken apart, in which "
    "communication does not overlap computing: comm. is time in collectives once all workers are there, waiting is "
    "time until the slowest is there, data is time until a batch is there, compute is the rest."
)
TUNING_HEADINGS = ["trials at once", "GPU a trial", "trials/hour", "searches", "complete", "stopped early", "failed"]


def headings(found: Analysis) -> list[str]:
    """Columns of the table of counts."""
    unit, _ = time_unit([row.hours for row in found.costs] or [0.0])
    money = ["money"] if found.raw.price is not None else []
    parts = ["compute %", "comm. %", "waiting %", "data %"]
    names = ["workers", "nodes", "step ms (quartiles)", "labeled/s", "unlabeled/s", "speed-up", "efficiency %", *parts]
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
        parts.append(aligned([TUNING_HEADINGS, *tuning_cells(found)]))
    parts += [PARTS_NOTE] if found.points else []
    return "\n\n".join(part for part in [*parts, "\n".join(sentences(found))] if part)


def tuning_cells(found: Analysis) -> list[list[str]]:
    """The rows of the table of searches as text."""
    return [
        [
            str(one.trials_at_once),
            f"{one.gpus_per_trial:g}",
            f"{one.trials_per_hour:.1f}",
            *map(str, (one.num_repetitions, one.num_complete, one.num_pruned, one.num_failed)),
        ]
        for one in found.tuning
    ]


def table_tree(found: Analysis) -> dict[str, Any]:
    """Every figure shown, unrounded."""
    return {
        "study": found.raw.study,
        "mode": found.raw.mode,
        "counts": [asdict(point) | asdict(cost) for point, cost in zip(found.points, found.costs, strict=True)],
        "laws": [
            {"law": fit.law, "parameters": fit.parameters, "intervals": fit.intervals, "best": [fit] == found.leading}
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


def _cells(point: Point, cost: Cost, unit: float) -> list[str]:
    low, median, high = (f"{1000 * value:.2f}" for value in point.step_s)
    shares = [f"{100 * share:.1f}" for share in point.shares.values()]
    busy = "–" if point.utilisation is None else f"{100 * point.utilisation:.0f}"
    memory = f"{point.peak_memory_bytes / 2**20:.0f}" if point.peak_memory_bytes else "–"
    speed = [f"{point.labeled_per_s:.1f}", f"{point.unlabeled_per_s:.1f}", f"{cost.speedup:.2f}"]
    bill = [f"{cost.hours * unit:.2f}", f"{cost.gpu_hours * unit:.2f}"]
    bill += [f"{cost.money:.4g}"] if cost.money is not None else []
    rest = [*shares, f"{point.startup_s:.1f}", memory, busy, *bill]
    return [
        str(point.count),
        str(point.num_nodes),
        f"{median} ({low}–{high})",
        *speed,
        f"{100 * cost.efficiency:.1f}",
        *rest,
    ]
