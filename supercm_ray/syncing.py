"""The command `sync`: sends what a tracker lacks of a study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from supercm_ray.config import Study
from supercm_ray.execution.interruption import interruptible
from supercm_ray.records import Status, StudyFolder, find_study, read_study
from supercm_ray.scaling.scale import send_scaled
from supercm_ray.search import StudyView
from supercm_ray.tracking import BackgroundTracker, background, make_tracker
from supercm_ray.tuning.found_run import FoundRun
from supercm_ray.tuning.report.view import best_run
from supercm_ray.tuning.study import log_model, log_models, log_table

_FILES = ("report.html", "table.json", "study.yaml")


def sync(named: str | Path, results: Path) -> str:
    """Sends what the tracker lacks of a study, and returns how to open it there (see `supercm_ray.sync`)."""
    folder = StudyFolder.existing(find_study(named, results, to="sync"))
    study = read_study(folder.path)
    with folder.lock(), interruptible():
        folder.views()  # what is damaged is told before anything is sent
        with background(make_tracker(study, folder), folder=folder) as tracker:
            if (folder.path / "train").is_dir():
                _send_trained(tracker, folder)
            elif folder.path.parent.name == "scale":
                send_scaled(tracker, folder)
            else:
                _send_tuned(tracker, study, folder)
    return tracker.how_to_open


def _send_trained(tracker: BackgroundTracker, folder: StudyFolder) -> None:
    for record in folder.runs("train"):
        tracker.sync(record.key)
        if record.status == "complete":
            log_model(tracker, FoundRun(folder, record), None)


def _send_tuned(tracker: BackgroundTracker, study: Study, folder: StudyFolder) -> None:
    is_open = tracker.attach_study()
    tracker.log_files(dict(_files(folder)))
    view = StudyView.read(study, folder)
    log_table(tracker, study, view.rows, view.choices)
    best = best_run(study, view.plan, view.runs)
    log_models(tracker, folder, None if best is None else best.record.key)
    if is_open:
        status: Status = "interrupted" if best is None else "complete"
        tracker.close_study(status)


def _files(folder: StudyFolder) -> Iterator[tuple[Path, str]]:
    for name in _FILES:
        if (folder.path / name).is_file():
            yield folder.path / name, ""
    for path in sorted((folder.path / "plots").glob("*.png")):
        yield path, "plots"
