"""The analysis of a scaling study: everything that the table and the page show, from its measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from supercm_ray.scaling.all_reduce import SimulatedStep
from supercm_ray.scaling.cost import Choice, Cost, choose, costs
from supercm_ray.scaling.fit import Fit, fit_models, leading
from supercm_ray.scaling.measured_runs import TargetRun
from supercm_ray.scaling.measurements import Measurements
from supercm_ray.scaling.noise_scale import NoiseScale, noise_scale
from supercm_ray.scaling.points import Point, TuningPoint, make_point, make_tuning_points
from supercm_ray.scaling.repetition import Repetition
from supercm_ray.scaling.simulation import Simulation, simulation
from supercm_ray.scaling.time_to_target import Attempt, TimeToTarget, time_to_target

MIN_SETTINGS = 3
"""Number of different numbers of workers below which no speedup model is fitted: any model fits two."""


@dataclass(frozen=True)
class Analysis:
    """The content of a scaling study's report.

    Attributes:
        throughputs: samples per second of each repetition, by number of workers.
        fits: fitted speedup models, the best first; empty below MIN_SETTINGS numbers of workers, or with too few
            repetitions.
        noise: gradient noise scale by number of workers, from two on.
        seconds_to_target: by number of workers.
        samples_to_target: by number of workers.
        simulation: predictions, which are not measurements, and what they assume.
    """

    measured: Measurements
    points: list[Point]
    throughputs: dict[int, list[float]]
    fits: list[Fit]
    costs: list[Cost]
    choice: Choice | None
    noise: dict[int, NoiseScale]
    seconds_to_target: dict[int, TimeToTarget]
    samples_to_target: dict[int, TimeToTarget]
    tuning: list[TuningPoint]
    simulation: Simulation | None

    @property
    def leading(self) -> list[Fit]:
        """The best speedup model and those with ΔAICc < 2."""
        return leading(self.fits)

    @property
    def simulated(self) -> list[SimulatedStep]:
        """Simulated steps, by number of workers."""
        return self.simulation.steps if self.simulation else []


def analyse(measured: Measurements) -> Analysis:
    """Computes the content of the report, always the same for the same measurements."""
    groups = _by_num_workers(measured.repetitions)
    throughputs = {count: [one.samples / one.median_step_s for one in group] for count, group in groups.items()}
    points = [make_point(count, group) for count, group in groups.items()]
    found = _costs(measured, throughputs, points)
    asked = measured.simulation
    return Analysis(
        measured,
        points,
        throughputs,
        fit_models(throughputs) if len(throughputs) >= MIN_SETTINGS else [],
        found,
        choose(found, floor=measured.efficiency_floor) if found else None,
        dict(_noise(groups)),
        _to_target(measured.targets, lambda run: run.seconds),
        _to_target(measured.targets, lambda run: float(run.samples)),
        make_tuning_points(measured.tuning),
        simulation(asked, groups, weak=measured.mode == "weak") if asked and groups else None,
    )


def _by_num_workers(repetitions: Sequence[Repetition]) -> dict[int, list[Repetition]]:
    groups: dict[int, list[Repetition]] = {}
    for one in sorted(repetitions, key=lambda one: (one.num_workers, one.repetition)):
        groups.setdefault(one.num_workers, []).append(one)
    return groups


def _costs(measured: Measurements, throughputs: dict[int, list[float]], points: list[Point]) -> list[Cost]:
    if not throughputs:
        return []
    return costs(
        throughputs,
        job_samples=measured.job_samples,
        startup_s={point.num_workers: point.startup_s for point in points},
        price_per_gpu_hour=measured.price_per_gpu_hour,
    )


def _noise(groups: dict[int, list[Repetition]]) -> Iterator[tuple[int, NoiseScale]]:
    for num_workers, group in groups.items():
        small = [value for one in group for value in one.small_squares]
        big = [value for one in group for value in one.big_squares]
        if num_workers > 1 and small and len(small) == len(big):
            batch = group[0].samples
            yield num_workers, noise_scale(small, big, small_batch=batch // num_workers, big_batch=batch)


def _to_target(runs: Sequence[TargetRun], spent: Callable[[TargetRun], float]) -> dict[int, TimeToTarget]:
    return {
        count: time_to_target([Attempt(spent(run), run.reached) for run in runs if run.num_workers == count])
        for count in sorted({run.num_workers for run in runs})
    }
