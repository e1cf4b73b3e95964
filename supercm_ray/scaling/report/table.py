"""The table of a scaling study, as text and as a tree for JSON."""

from __future__ import annotations

from dataclasses import asdict

from supercm_ray.reporting.tables import aligned
from supercm_ray.scaling.analysis import Analysis
from supercm_ray.scaling.cost import Cost
from supercm_ray.scaling.points import Point
from supercm_ray.scaling.report.sentences import sentences
from supercm_ray.scaling.report.units import time_unit

PARTS_NOTE = (
    "Steps are timed whole, as in training. The parts come from as many further steps that are profiled, in which "
    "communication does not overlap computing: comm. is time in collectives once all workers are there, straggler wait "
    "is time until the slowest is there, data is time until a batch is ready, compute is the rest."
)
TUNING_HEADINGS = ["trials at once", "GPU a trial", "trials/hour", "searches", "complete", "stopped early", "failed"]


def headings(found: Analysis) -> list[str]:
    """Returns the headings of the table of numbers of workers."""
    unit, _ = time_unit([cost.hours for cost in found.costs])
    money = ["money"] if found.measured.price_per_gpu_hour is not None else []
    parts = ["compute %", "comm. %", "straggler wait %", "data %"]
    names = ["workers", "nodes", "step ms (quartiles)", "labeled/s", "unlabeled/s", "speedup", "efficiency %", *parts]
    return [*names, "start-up s", "memory MiB", "busy %", f"job {unit}", f"worker {unit}", *money]


def cells(found: Analysis) -> list[list[str]]:
    """Returns the table's rows as text."""
    unit = time_unit([cost.hours for cost in found.costs])[1]
    return [_cells(point, cost, unit) for point, cost in zip(found.points, found.costs, strict=True)]


def table_text(found: Analysis) -> str:
    """Formats the table and the sentences below it for a terminal."""
    parts = [aligned([headings(found), *cells(found)])] if found.points else []
    parts += ["\n".join(f"not measured, {what}: {why}" for what, why in sorted(found.measured.skipped.items()))]
    if found.tuning:
        parts.append(aligned([TUNING_HEADINGS, *tuning_cells(found)]))
    parts += [PARTS_NOTE] if found.points else []
    return "\n\n".join(part for part in [*parts, "\n".join(sentences(found))] if part)


def tuning_cells(found: Analysis) -> list[list[str]]:
    """Returns the rows of the table of searches as text."""
    return [
        [
            str(one.trials_at_once),
            f"{one.gpus_per_trial:g}",
            f"{one.trials_per_hour:.1f}",
            *map(str, (one.num_repetitions, one.num_complete, one.num_pruned, one.num_failed)),
        ]
        for one in found.tuning
    ]


def table_tree(found: Analysis) -> dict[str, object]:
    """Returns every number of the report, unrounded."""
    return {
        "study": found.measured.study,
        "mode": found.measured.mode,
        "workers": [asdict(point) | asdict(cost) for point, cost in zip(found.points, found.costs, strict=True)],
        "speedup_models": [
            {
                "model": fit.model,
                "parameters": fit.parameters,
                "intervals": fit.intervals,
                "covers_offsets": fit.covers_offsets,
                "aicc": fit.aicc,
                "best": [fit] == found.leading,
            }
            for fit in found.fits
        ],
        "choice": asdict(found.choice) if found.choice else None,
        "noise_scale": {str(count): asdict(noise) for count, noise in found.noise.items()},
        "seconds_to_target": {str(count): asdict(one) for count, one in found.seconds_to_target.items()},
        "samples_to_target": {str(count): asdict(one) for count, one in found.samples_to_target.items()},
        "tuning": [asdict(one) for one in found.tuning],
        "simulated": [asdict(one) | {"step_s": one.step_s} for one in found.simulated],
        "skipped": dict(found.measured.skipped),
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
    step = f"{median} ({low}–{high})"
    return [str(point.num_workers), str(point.num_nodes), step, *speed, f"{100 * cost.efficiency:.1f}", *rest]
