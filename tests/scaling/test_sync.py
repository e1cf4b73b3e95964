"""What a tracker lacks of a scaling study is sent from its folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import supercm_ray
from supercm_ray.config import load_study
from supercm_ray.records import RunRecord, Status, StudyFolder, write_study
from supercm_ray.scaling.report import build_scaling_report
from supercm_ray.tracking import TRACKERS
from supercm_ray.tracking.null import NullTracker

from .synthetic import measurements
from .test_report import written


class Written(NullTracker):
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.files: list[str] = []
        self.status: Status | None = None

    def attach_study(self) -> bool:
        return True

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.metrics |= metrics

    def log_files(self, files: Mapping[Path, str]) -> None:
        self.files += [path.name for path in files]

    def close_study(self, status: Status) -> None:
        self.status = status


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Written:
    made = Written()
    monkeypatch.setenv("SUPERCM_TRACKING", "kept")
    TRACKERS.add("kept", lambda study, folder: made)
    return made


@pytest.fixture
def folder(tmp_path: Path, small_study: Path) -> StudyFolder:
    study = load_study(small_study)
    made = StudyFolder.open(tmp_path / "scale", "small", study.identity())
    write_study(made.path, study)
    made.run("scale/one").write(RunRecord("scale/one", "scale", {}, {}, 60))
    return made


def test_ended_study_has_metrics_by_workers(tracker: Written, folder: StudyFolder, tmp_path: Path) -> None:
    build_scaling_report(written(folder.path, measurements()), plots=False)
    supercm_ray.sync("small", results=tmp_path)
    assert {"efficiency/1", "efficiency/2", "samples_per_s/1"} <= set(tracker.metrics)
    assert {"scaling.html", "table.json", "measurements.json", "study.yaml"} == set(tracker.files)
    assert tracker.status == "complete"


def test_study_without_page_stays_interrupted(tracker: Written, folder: StudyFolder, tmp_path: Path) -> None:
    written(folder.path, measurements())
    supercm_ray.sync(folder.path, results=tmp_path)
    assert (tracker.status, tracker.metrics) == ("interrupted", {})
