"""Summaries of repetitions at each number of workers or concurrent trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supercm_ray.scaling.measured_runs import TuningRun
from supercm_ray.scaling.repetition import PARTS, Part, Repetition


@dataclass(frozen=True)
class Point:
    """The summary of one number of workers over its repetitions.

    Attributes:
        step_s: quartiles (25, 50, 75 %) over all measured steps, in seconds.
        labeled_per_s: labeled samples per second, the median over repetitions.
        unlabeled_per_s: unlabeled samples per second, the median over repetitions.
        shares: fraction of the step's time by part, means over repetitions.
        startup_s: seconds of start-up, the median over repetitions.
        num_nodes: largest number of nodes that a repetition was spread over.
    """

    num_workers: int
    num_repetitions: int
    num_steps: int
    step_s: tuple[float, float, float]
    labeled_per_s: float
    unlabeled_per_s: float
    shares: dict[Part, float]
    startup_s: float
    peak_memory_bytes: int
    utilisation: float | None
    num_nodes: int


@dataclass(frozen=True)
class TuningPoint:
    """The summary of one number of concurrent trials and GPU fraction over its searches.

    Attributes:
        trials_per_hour: trials that ended per hour, the median over repetitions.
        num_complete: number of trials trained to the end, over all repetitions.
        num_pruned: number of trials stopped early, over all repetitions.
        num_failed: number of trials that failed, over all repetitions.
    """

    trials_at_once: int
    gpus_per_trial: float
    trials_per_hour: float
    num_repetitions: int
    num_complete: int
    num_pruned: int
    num_failed: int


def make_point(num_workers: int, group: Sequence[Repetition]) -> Point:
    """Summarises the repetitions of one number of workers."""
    low, median, high = np.quantile([step for one in group for step in one.step_s], [0.25, 0.5, 0.75]).tolist()
    known = [one.utilisation for one in group if one.utilisation is not None]
    return Point(
        num_workers,
        len(group),
        sum(len(one.step_s) for one in group),
        (low, median, high),
        statistics.median(one.labeled_samples / one.median_step_s for one in group),
        statistics.median(one.unlabeled_samples / one.median_step_s for one in group),
        _shares(group),
        statistics.median(one.startup_s for one in group),
        max(one.peak_memory_bytes for one in group),
        statistics.fmean(known) if known else None,
        max(len(set(one.nodes)) or 1 for one in group),
    )


def _shares(group: Sequence[Repetition]) -> dict[Part, float]:
    seconds = {part: statistics.fmean(one.parts_s[part] for one in group) for part in PARTS}
    whole = sum(seconds.values()) or 1.0
    return {part: value / whole for part, value in seconds.items()}


def make_tuning_points(runs: Sequence[TuningRun]) -> list[TuningPoint]:
    """Summarises the searches, by concurrent trials and GPU fraction."""
    found = []
    for setting in sorted({run.setting for run in runs}):
        group = [run for run in runs if run.setting == setting]
        found.append(
            TuningPoint(
                *setting,
                statistics.median(run.trials_per_hour for run in group),
                len(group),
                sum(run.num_complete for run in group),
                sum(run.num_pruned for run in group),
                sum(run.num_failed for run in group),
            )
        )
    return found
