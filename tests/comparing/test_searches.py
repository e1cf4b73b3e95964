"""Runs found in MLflow are compared like those on disk, and a comparison becomes a run of its own."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from supercm_ray.comparing import compare
from supercm_ray.config import Leaf, load_study
from supercm_ray.errors import StudyError, TrackingError
from supercm_ray.records import DataSummary, RunRecord, StudyFolder, now_ms, write_study
from supercm_ray.search import plan_finalists, save_plan
from supercm_ray.tracking.mlflow import MlflowTracker
from supercm_ray.tracking.mlflow.describing import parsed, spelled

pytestmark = pytest.mark.filterwarnings("ignore")
VAT = "params.`algorithm.name` = 'vat'"


def write_runs(folder: StudyFolder, algorithm: str, accuracies: list[float], file: Path) -> None:
    """Leaves two trials and the tuned finalists of a study, on disk and in MLflow."""
    study = load_study(file, [f"algorithm.name={algorithm}", f"num_seeds={len(accuracies)}"])
    write_study(folder.path, study)
    folder.write("data.json", DataSummary(samples_digest="same").to_json())
    finalists = plan_finalists(study, {(0.05,): {"data.label_ratio": 0.05, "algorithm.clustering_weight": 2.0}})
    save_plan(folder, finalists)
    planned = [one for one in finalists if one.arm == "tuned"]
    runs: list[tuple[str, dict[str, Leaf], dict[str, float], dict[str, Leaf | list[Leaf]]]] = [
        (f"trials/{i:04}", {"algorithm.clustering_weight": weight}, {}, {}) for i, weight in enumerate((0.5, 3.0))
    ]
    runs += [
        (one.key, one.overrides, {"test/accuracy": accuracy}, one.labels)
        for one, accuracy in zip(planned, accuracies, strict=True)
    ]
    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    for key, overrides, summary, labels in runs:
        kind = "finalist" if summary else "trial"
        record = RunRecord(key, kind, overrides, study.base.replace(overrides).leaves(), 60, labels, num_labeled=50)
        folder.run(key).write(dataclasses.replace(record, started_ms=now_ms()))
        folder.run(key).append({"epoch": 1, "val/accuracy": 0.5, "val/loss": 1.0, "epoch_seconds": 2.0})
        np.savez(folder.run(key).splits, labeled=np.arange(50), test=np.arange(9))
        folder.run(key).write(record.ended("complete", summary=summary))
        tracker.sync(key)


@pytest.fixture
def results(tmp_path: Path, small_study: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "SUPERCM_TRACKING"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    for name, algorithm, accuracies in (("plain", "supervised", [0.6, 0.62, 0.61]), ("vat", "vat", [0.7, 0.71, 0.73])):
        folder = StudyFolder.open(tmp_path / "results", name, load_study(small_study).identity())
        write_runs(folder, algorithm, accuracies, small_study)
    return tmp_path / "results"


def test_search_finds_what_disk_has(results: Path) -> None:
    found = compare(["plain", VAT, "vat"], results=results)
    plain, searched, on_disk = found.entries
    assert "MLflow" in searched.title
    assert searched.lines[0].accuracies == on_disk.lines[0].accuracies == pytest.approx({1: 0.7, 2: 0.71, 3: 0.73})
    assert searched.lines[0].digest == on_disk.lines[0].digest
    assert searched.lines[0].digest is not None
    assert [trial.record.params["algorithm.clustering_weight"] for trial in searched.trials] == [3.0, 0.5]
    assert searched.settings.items() >= {"algorithm.name": "vat", "model.name": plain.settings["model.name"]}.items()
    first, same, back = found.pairs
    assert (first.difference.is_paired, first.difference.verdict) == (True, "above")
    assert first.difference.mean == pytest.approx(0.31 / 3)
    assert (same.first.entry, same.second.entry, back.difference.mean) == ("A", "C", 0.0)


def test_two_searches_need_no_results(results: Path, tmp_path: Path) -> None:
    shutil.rmtree(results)
    found = compare(["params.`algorithm.name` = 'supervised'", VAT], results=tmp_path / "elsewhere")
    assert [pair.difference.verdict for pair in found.pairs] == ["above"]
    assert "without the error from the choice of test samples" in found.text
    assert found.html is not None
    assert found.html.is_file()


def test_comparison_becomes_a_run(results: Path) -> None:
    found = compare(["plain", "vat"], results=results, log=True)
    client = MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    run = client.get_run(found.how_to_open.rpartition("/")[2])
    assert run.info.status == "FINISHED"
    assert run.data.params == {entry.letter: entry.title for entry in found.entries}
    assert run.data.metrics == {"difference/B-A/tuned/60": pytest.approx(0.31 / 3)}
    assert found.text in run.data.tags["mlflow.note.content"]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == [found.html.name if found.html else ""]
    assert len(compare(["plain", "tags.`supercm.kind` LIKE '%'"], results=results).entries[1].lines) == 2


def test_search_that_fails_says_why(results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="finalists or trained runs of supercm_ray, got none for"):
        compare(["plain", "params.`algorithm.name` = 'nobody'"], results=results)
    with pytest.raises(StudyError, match="must be a filter of MLflow's"):
        compare(["plain", "accuracy >> 3"], results=results)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(TrackingError, match="MLflow must have a database, got none"):
        compare(["plain", VAT], results=results)
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("value", [True, None, 3, 0.25, 1e-7, "vat", "a b", (1, 2), ("a", "b"), ()], ids=str)
def test_spelled_value_is_read_back(value: Leaf) -> None:
    assert parsed(spelled(value)) == value
    assert type(parsed(spelled(value))) is type(value)
