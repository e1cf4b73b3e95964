"""Studies to report on, written by `synthetic`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from supercm_ray.config import Study, load_study
from supercm_ray.records import StudyFolder
from supercm_ray.tuning.report import Report, build_report

from .synthetic import DIGITS, Maker


@pytest.fixture(scope="session")
def study() -> Study:
    """The study file of the digits, with a budget that the synthetic trials use up."""
    return load_study(DIGITS, ["budget.num_trials=24"])


@pytest.fixture
def maker(study: Study, tmp_path: Path) -> Maker:
    """Writes into an empty study."""
    return Maker(study, StudyFolder.open(tmp_path, study.name, study.identity()))


@pytest.fixture(scope="session")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Report]:
    """A study at its end with its report; to be read only."""
    folder = StudyFolder.open(tmp_path_factory.mktemp("finished"), study.name, study.identity())
    Maker(study, folder).trials().finalists()
    return folder, build_report(study, folder)


@pytest.fixture
def copied(finished: tuple[StudyFolder, Report], tmp_path: Path) -> StudyFolder:
    """A copy of the study at its end, to be changed."""
    path = tmp_path / "copy"
    shutil.copytree(finished[0].path, path)
    return StudyFolder.existing(path)
