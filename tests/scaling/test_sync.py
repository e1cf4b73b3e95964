"""What a tracker lacks of a scaling study is told, and sent by `supercm-ray sync`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

import supercm_ray
from supercm_ray.config import Study, load_study
from supercm_ray.records import Status, StudyFolder, write_study
from supercm_ray.scaling import FILE_NAME
from supercm_ray.scaling.report import build_scaling_report
from supercm_ray.scaling.sync import tracked
from supercm_ray.tracking import TRACKERS
from supercm_ray.tracking.null import NullTracker

from .synthetic import measurements


class Noting(NullTracker):
    """Notes what it is sent."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        self.name = study.name
        self.sent: dict[str, object] = {}

    def attach_study(self) -> bool:
        return True

    def log_files(self, files: Mapping[Path, str]) -> None:
        self.sent |= {path.name: place for path, place in files.items()}

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.sent |= metrics

    def close_study(self, status: Status) -> None:
        self.sent["status"] = status


class Broken(NullTracker):
    """Does not take how a study ended."""

    def close_study(self, status: Status) -> None:
        raise ConnectionError


@pytest.fixture
def study(small_study: Path) -> Study:
    return load_study(small_study)


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> StudyFolder:
    made = StudyFolder.open(tmp_path / "results" / "scale", "small-strong-1234", "identity")
    write_study(made.path, study)
    return made


def test_all_of_a_scaling_study_is_sent(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Noting] = []
    TRACKERS.add("noting", lambda study, folder: made.append(Noting(study, folder)) or made[-1])
    monkeypatch.setenv("SUPERCM_TRACKING", "noting")
    (folder.path / FILE_NAME).write_text(measurements().model_dump_json())
    supercm_ray.sync(folder.path)
    assert made[-1].sent == {"status": "interrupted"}, "there is no page yet"
    build_scaling_report(folder.path / FILE_NAME, plots=False)
    supercm_ray.sync("small", results=folder.path.parents[1])
    assert made[-1].name == "small-strong-scaling"
    sent = made[-1].sent
    assert {FILE_NAME, "scaling.html", "table.json", "study.yaml", "step_s/1", "speedup/8"} <= sent.keys()
    assert sent["status"] == "complete"


def test_the_last_line_names_the_command_that_sends_it(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    TRACKERS.add("broken", lambda study, folder: Broken())
    monkeypatch.setenv("SUPERCM_TRACKING", "broken")
    with caplog.at_level(logging.WARNING, logger="supercm_ray"), tracked(study, "strong", folder) as tracker:
        tracker.close_study("complete")
    assert f"supercm-ray sync {folder.path} sends it" in caplog.messages[-1]
