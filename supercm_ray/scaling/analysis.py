"""From raw figures to everything that the table and the page show."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from supercm_ray.scaling.censored import Attempt, TimeToTarget, time_to_target
from supercm_ray.scaling.cost import Choice, Cost, choose, costs
from supercm_ray.scaling.law import Fit, fit_laws, leading
from supercm_ray.scaling.noise_scale import NoiseScale, noise_scale
from supercm_ray.scaling.raw import Raw, Repetition
from supercm_ray.scaling.simulate import Simulated
from supercm_ray.scaling.simulation import Simulation, simulation

LEAST_COUNTS = 3
"""Counts without which no law is fitted: any goes through two."""

PARTS = ("compute", "communication", "waiting", "data")
"""What a step's time is made of."""


@dataclass(frozen=True)
class Point:
    """One count, over its repetitions.

    Attributes:
        step_s: quartiles (25, 50, 75 %) over all measured steps.
        labeled_per_s: labeled rows a second, the median over repetitions; likewise the unlabeled ones.
        shares: of the step's time, by part, means over repetitions.
        startup_s: the median.
        num_nodes: the most nodes that a repetition was spread over.
    """

    count: int
    num_repetitions: int
    num_steps: int
    step_s: tuple[float, float, float]
    labeled_per_s: float
    unlabeled_per_s: float
    shares: dict[str, float]
    startup_s: float
    peak_memory_bytes: int
    utilisation: float | None
    num_nodes: int


@dataclass(frozen=True)
class TuningPoint:
    """One number of trials at once and share of a GPU.

    Attributes:
        trials_per_hour: of all that came to an end, the median over repetitions.
        num_complete: trials trained to the end, over all repetitions; likewise those stopped early and those failed.
    """

    trials_at_once: int
    gpus_per_trial: float
    trials_per_hour: float
    num_repetitions: int
    num_complete: int
    num_pruned: int
    num_failed: int


@dataclass(frozen=True)
class Analysis:
    """All that is shown.

    Attributes:
        throughputs: rows a second of each repetition, by count.
        fits: of the laws, the best first; empty below LEAST_COUNTS counts, or with too few repetitions.
        noise: gradient noise scale by count, from two workers on.
        seconds_to_target: by count; likewise rows.
        simulation: predictions, which are no measurements, and what they assume.
    """

    raw: Raw
    points: list[Point]
    throughputs: dict[int, list[float]]
    fits: list[Fit]
    costs: list[Cost]
    choice: Choice | None
    noise: dict[int, NoiseScale]
    seconds_to_target: dict[int, TimeToTarget]
    rows_to_target: dict[int, TimeToTarget]
    tuning: list[TuningPoint]
    simulation: Simulation | None

    @property
    def leading(self) -> list[Fit]:
        """The best law and those not told apart from it."""
        return leading(self.fits)

    @property
    def simulated(self) -> list[Simulated]:
        """Simulated steps, by count."""
        return self.simulation.steps if self.simulation else []


def analyse(raw: Raw) -> Analysis:
    """Computes everything from the raw figures, the same for the same figures."""
    groups = _by_count(raw.repetitions)
    throughputs = {count: [throughput(one) for one in group] for count, group in groups.items()}
    points = [_point(count, group) for count, group in groups.items()]
    startup = {point.count: point.startup_s for point in points}
    rows = costs(throughputs, job_rows=raw.job_rows, startup_s=startup, price=raw.price) if throughputs else []
    return Analysis(
        raw,
        points,
        throughputs,
        fit_laws(throughputs) if len(throughputs) >= LEAST_COUNTS else [],
        rows,
        choose(rows, floor=raw.efficiency_floor) if rows else None,
        dict(_noise(groups)),
        _to_target(raw, "seconds"),
        _to_target(raw, "rows"),
        _tuning(raw),
        simulation(raw.simulation, groups, weak=raw.mode == "weak") if raw.simulation and groups else None,
    )


def throughput(one: Repetition) -> float:
    """Rows a second of a repetition, by its median step, which a single hiccup does not move."""
    return one.rows / statistics.median(one.step_s)


def _by_count(repetitions: Sequence[Repetition]) -> dict[int, list[Repetition]]:
    groups: dict[int, list[Repetition]] = {}
    for one in sorted(repetitions, key=lambda one: (one.workers, one.repetition)):
        groups.setdefault(one.workers, []).append(one)
    return groups


def _point(count: int, group: Sequence[Repetition]) -> Point:
    quartiles = np.quantile([step for one in group for step in one.step_s], [0.25, 0.5, 0.75]).tolist()
    known = [one.utilisation for one in group if one.utilisation is not None]
    return Point(
        count,
        len(group),
        sum(len(one.step_s) for one in group),
        (quartiles[0], quartiles[1], quartiles[2]),
        statistics.median(one.labeled_samples / statistics.median(one.step_s) for one in group),
        statistics.median(one.unlabeled_rows / statistics.median(one.step_s) for one in group),
        _shares(group),
        statistics.median(one.startup_s for one in group),
        max(one.peak_memory_bytes for one in group),
        statistics.fmean(known) if known else None,
        max(len(set(one.nodes)) or 1 for one in group),
    )


def _shares(group: Sequence[Repetition]) -> dict[str, float]:
    seconds = {part: statistics.fmean(getattr(one, f"{part}_s") for one in group) for part in PARTS}
    whole = sum(seconds.values()) or 1.0
    return {part: value / whole for part, value in seconds.items()}


def _noise(groups: dict[int, list[Repetition]]) -> Iterator[tuple[int, NoiseScale]]:
    for count, group in groups.items():
        small = [value for one in group for value in one.small_squares]
        big = [value for one in group for value in one.big_squares]
        if count > 1 and small and len(small) == len(big):
            rows = group[0].rows
            yield count, noise_scale(small, big, small_rows=rows // count, big_rows=rows)


def _to_target(raw: Raw, unit: str) -> dict[int, TimeToTarget]:
    counts = sorted({run.workers for run in raw.targets})
    return {
        count: time_to_target(
            [Attempt(float(getattr(run, unit)), run.reached) for run in raw.targets if run.workers == count]
        )
        for count in counts
    }


def _tuning(raw: Raw) -> list[TuningPoint]:
    found = []
    for at_once, share in sorted({(run.trials_at_once, run.gpus_per_trial) for run in raw.tuning}):
        group = [run for run in raw.tuning if (run.trials_at_once, run.gpus_per_trial) == (at_once, share)]
        per_hour = statistics.median(3600 * run.num_trials / run.seconds for run in group)
        ends = (sum(getattr(run, name) for run in group) for name in ("num_complete", "num_pruned", "num_failed"))
        found.append(TuningPoint(at_once, share, per_hour, len(group), *ends))
    return found
