"""Readers of a study: each record is read once, and neither the data set nor Optuna's storage is opened."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuning.synthetic import DIGITS, Maker

from supercm_ray import api
from supercm_ray.cli.listing import list_studies
from supercm_ray.config import Study, load_study
from supercm_ray.records import StudyFolder
from supercm_ray.search import StudyView, load_plan, save_plan
from supercm_ray.tuning.report import build_report

_listeners: list[list[Path]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _listeners and event == "open" and isinstance(arguments[0], str):
        _listeners[0].append(Path(arguments[0]).resolve())


sys.addaudithook(_note)


@pytest.fixture
def opened() -> Iterator[list[Path]]:
    """Every file that is opened during the test, as often as it is."""
    _listeners.append([])
    yield _listeners[0]
    _listeners.clear()


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(DIGITS, ["budget.num_trials=8", "num_seeds=1"])


@pytest.fixture(scope="module")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study at its end, as its command leaves it; to be copied."""
    made = StudyFolder.open(tmp_path_factory.mktemp("finished"), study.name, study.identity())
    Maker(study, made).trials(8).finalists()
    made.write("study.yaml", DIGITS.read_text().replace("num_trials: 40", "num_trials: 8"))
    save_plan(made, StudyView.read(study, made).plan)
    return made.path


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A copy of the study in `results`, tracked nowhere."""
    monkeypatch.setenv("SUPERCM_TRACKING", "none")
    monkeypatch.chdir(tmp_path)
    return StudyFolder.existing(shutil.copytree(finished, tmp_path / "results" / finished.name))


def make_page(study: Study, folder: StudyFolder) -> None:
    build_report(study, folder, plots=False)


def report(study: Study, folder: StudyFolder) -> None:
    api.report(study.name)


def compare(study: Study, folder: StudyFolder) -> None:
    api.compare(study.name, study.name)


def list_all(study: Study, folder: StudyFolder) -> None:
    list_studies(Path("search_spaces"), Path("results"))


@pytest.mark.parametrize(
    ("read", "times"),
    [(make_page, 1), (report, 1), (compare, 2), (list_all, 1)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_each_record_is_read_once(
    study: Study,
    folder: StudyFolder,
    opened: list[Path],
    read: Callable[[Study, StudyFolder], None],
    times: int,
) -> None:
    """A study that is compared with itself is read as two are."""
    opened.clear()
    read(study, folder)
    counts = Counter(path for path in opened if path.is_relative_to(folder.path.resolve()))
    records = [path.resolve() for path in folder.path.glob("*/*/run.json")]
    assert len(records) > 8
    assert {counts[path] for path in records} == {times}
    histories = {counts[path.with_name("metrics.jsonl")] for path in records}
    assert histories <= {0, times}, "a reader that needs no history reads none"


def test_everything_of_a_view_comes_from_one_reading(study: Study, folder: StudyFolder, opened: list[Path]) -> None:
    view = StudyView.read(study, folder)
    opened.clear()
    assert view.statuses == {"complete": 5, "pruned": 2, "failed": 1}
    assert [trial.number for trial in view.trials] == list(range(8))
    assert len(view.finalists) == len(view.plan) == len(load_plan(folder) or ())
    assert not view.open_finalists
    assert [row.num_seeds for row in view.rows] == [1] * len(view.rows)
    assert not [path for path in opened if path.name in ("run.json", "metrics.jsonl")]


def test_report_needs_neither_the_data_nor_optuna(study: Study, folder: StudyFolder, opened: list[Path]) -> None:
    def page() -> str:
        return re.sub(r"<dt>page written</dt><dd>[^<]*", "", api.report(study.name).html.read_text())

    first = page()
    (folder.path / "optuna.db").unlink()
    opened.clear()
    assert page() == first
    assert not (folder.path / "optuna.db").exists()
    assert not [path for path in opened if path.name.startswith(("optuna", "digits.csv"))]


def test_the_plan_is_kept_as_it_was_stored(study: Study, folder: StudyFolder) -> None:
    """What becomes of a trial later changes no plan that finalists were run by."""
    view = StudyView.read(study, folder)
    best = max(view.trials, key=lambda trial: trial.metrics.get("val/accuracy", 0.0))
    folder.run(best.record.key).write(best.record.ended("failed"))
    assert StudyView.read(study, folder).plan == view.plan
    (folder.path / "finalists.json").unlink()
    assert StudyView.read(study, folder).plan != view.plan


@pytest.mark.parametrize("text", ["", '{"class_names": ["zero", "one"]}'])
def test_class_names_are_those_stored(study: Study, folder: StudyFolder, text: str) -> None:
    (folder.path / "data.json").write_text(text)
    data = StudyView.read(study, folder).data
    assert data.class_names == (("zero", "one") if text else ())
    assert data.val_class_counts == ()
