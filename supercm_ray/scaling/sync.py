"""What a tracker gets of a scaling study, and the command `sync` for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from supercm_ray.config import Study
from supercm_ray.execution.interruption import interruptible
from supercm_ray.records import StudyFolder, read_study
from supercm_ray.scaling.analysis import analyse
from supercm_ray.scaling.measurements import FILE_NAME, Measurements, load_measurements
from supercm_ray.tracking import BackgroundTracker, background, make_tracker, resend_command

_FILES = (FILE_NAME, "scaling.html", "table.json", "study.yaml")


def is_scaling(folder: StudyFolder) -> bool:
    """Returns whether a folder has a scaling study."""
    return (folder.path / FILE_NAME).is_file()


def sync(folder: StudyFolder) -> str:
    """Sends what the tracker lacks of a scaling study, and returns how to open it there (see `supercm_ray.sync`)."""
    study, measured = read_study(folder.path), load_measurements(folder.path / FILE_NAME)
    with folder.lock(), interruptible():
        folder.views()  # what is damaged is told before anything is sent
        with tracked(study, measured.mode, folder) as tracker:
            is_open, is_done = tracker.attach_study(), (folder.path / "scaling.html").is_file()
            if is_done:
                log_scaling(tracker, dict(_files(folder)), measured)
            if is_open:
                tracker.close_study("complete" if is_done else "interrupted")
    return tracker.how_to_open


def tracked(study: Study, mode: str, folder: StudyFolder) -> AbstractContextManager[BackgroundTracker]:
    """Returns the tracker of a scaling study, under a name that tells it from the tuned study."""
    named = study.model_copy(update={"name": f"{study.name}-{mode}-scaling"})
    return background(make_tracker(named, folder), folder=folder, resend=resend_command(folder))


def log_scaling(tracker: BackgroundTracker, files: Mapping[Path, str], measured: Measurements) -> None:
    """Stores the files and the metrics of a scaling study in the tracker."""
    tracker.log_files(files)
    tracker.log_metrics(dict(_metrics(measured)))


def _files(folder: StudyFolder) -> Iterator[tuple[Path, str]]:
    for name in _FILES:
        if (folder.path / name).is_file():
            yield folder.path / name, ""
    for path in sorted((folder.path / "plots").glob("*.png")):
        yield path, "plots"


def _metrics(measured: Measurements) -> Iterator[tuple[str, float]]:
    """Returns metrics of the whole study by name, such as `efficiency/4` at 4 workers."""
    found = analyse(measured)
    for point, cost in zip(found.points, found.costs, strict=True):
        yield f"step_s/{point.num_workers}", point.step_s[1]
        yield f"samples_per_s/{point.num_workers}", cost.throughput
        yield f"speedup/{point.num_workers}", cost.speedup
        yield f"efficiency/{point.num_workers}", cost.efficiency
    for one in found.tuning:
        yield f"trials_per_hour/{one.trials_at_once}/{one.gpus_per_trial:g}", one.trials_per_hour
