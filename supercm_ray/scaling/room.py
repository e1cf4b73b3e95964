"""Checks which measurements of a scaling study fit the cluster."""

from __future__ import annotations

from collections.abc import Iterator

from supercm_ray.config import ScalingConfig, Study
from supercm_ray.errors import StudyError
from supercm_ray.scaling.measurements_file import MeasurementsFile
from supercm_ray.scaling.plan import Remaining, SearchSetting
from supercm_ray.scaling.workers import RayExecutor, room_for_trials, room_for_workers


def that_fits(
    left: Remaining, executor: RayExecutor, study: Study, scaling: ScalingConfig, file: MeasurementsFile
) -> Remaining:
    """Returns the remaining measurements that fit the cluster, and notes the others in the file.

    Raises:
        StudyError: for a number of workers or concurrent trials that does not fit, unless these are to be skipped.
    """
    num_workers = list(_fitting_workers(left, executor, study, scaling, file))
    return left.only(num_workers, list(_fitting_searches(left, executor, study, scaling, file)))


def _fitting_workers(
    left: Remaining, executor: RayExecutor, study: Study, scaling: ScalingConfig, file: MeasurementsFile
) -> Iterator[int]:
    room = room_for_workers(executor, study.budget)
    begun = {one.num_workers for one in file.content.repetitions}
    for num_workers in left.num_workers:
        what = f"{num_workers} worker{'s' * (num_workers > 1)}"
        if _fits(num_workers, room, "more of " * (num_workers in begun) + what, scaling, file):
            yield num_workers


def _fitting_searches(
    left: Remaining, executor: RayExecutor, study: Study, scaling: ScalingConfig, file: MeasurementsFile
) -> Iterator[SearchSetting]:
    begun = {one.setting for one in file.content.tuning}
    for setting in left.settings:
        trials_at_once, gpu_fraction = setting
        what = f"{trials_at_once} trial{'s' * (trials_at_once > 1)} at once with {gpu_fraction:g} of a GPU each"
        room = room_for_trials(executor, study.budget, gpu_fraction)
        if _fits(trials_at_once, room, "more of " * (setting in begun) + what, scaling, file):
            yield setting


def _fits(wanted: int, room: int, what: str, scaling: ScalingConfig, file: MeasurementsFile) -> bool:
    if wanted <= room:
        return True
    if not scaling.skip_missing:
        raise StudyError(
            f"{what} must fit the cluster at once, got room for {room}; ask for fewer, add nodes, or set "
            "scaling.skip_missing=true to measure the others"
        )
    file.skip(what, f"the cluster has room for {room}")
    return False
