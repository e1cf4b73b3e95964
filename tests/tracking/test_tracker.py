"""MLflow as a sync: complete, nothing twice, and harmless when it fails."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from supercm_ray.config import Study, load_study
from supercm_ray.records import RunRecord, StudyFolder, now_ms
from supercm_ray.tracking import Tracker, background

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def study() -> Study:
    return load_study(Path(__file__).parents[2] / "search_spaces" / "digits.yaml")


@pytest.fixture
def folder(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return StudyFolder.open(tmp_path / "results", study.name, study.identity())


def write_run(folder: StudyFolder, study: Study, key: str, num_epochs: int) -> RunRecord:
    run = folder.run(key)
    record = run.record() or RunRecord(key, "trial", {}, study.base.leaves(), 192, started_ms=now_ms())
    run.write(record)
    np.savez(run.splits, labeled=np.arange(3))
    for epoch in range(1, num_epochs + 1):
        run.append({"epoch": epoch, "val/accuracy": epoch / 100, "train/loss": 1.0 / epoch})
    return record


def runs_of(study_folder: StudyFolder) -> dict[str, object]:
    client = MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("supercm_ray")
    return {run.data.tags.get("supercm.run", "study"): run for run in client.search_runs([experiment.experiment_id])}


def history(key: str, folder: StudyFolder, name: str = "val/accuracy") -> list[tuple[int, float]]:
    client = MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    return [(m.step, m.value) for m in client.get_metric_history(runs_of(folder)[key].info.run_id, name)]


def test_mirroring_twice_and_by_two_trackers_writes_once(study: Study, folder: StudyFolder) -> None:
    tracker = Tracker(study, folder)
    parent = tracker.open_parent()
    write_run(folder, study, "trials/0000", 3)
    tracker.sync("trials/0000")
    tracker.sync("trials/0000")
    other = Tracker(study, folder)
    assert other.open_parent() == parent
    write_run(folder, study, "trials/0000", 5)
    other.sync_all()
    assert history("trials/0000", folder) == [(epoch, epoch / 100) for epoch in range(1, 6)]
    assert history("trials/0000", folder, "train/loss") == [(epoch, 1.0 / epoch) for epoch in range(1, 6)]
    assert len(runs_of(folder)) == 2
    assert runs_of(folder)["trials/0000"].data.tags["mlflow.parentRunId"] == parent


def test_a_lost_database_is_made_again_from_the_records(study: Study, folder: StudyFolder, tmp_path: Path) -> None:
    tracker = Tracker(study, folder)
    tracker.open_parent()
    record = write_run(folder, study, "trials/0000", 4)
    folder.run("trials/0000").write(record.ended("pruned", "stopped early"))
    tracker.sync_all()
    before = history("trials/0000", folder)
    (tmp_path / "mlflow.db").rename(tmp_path / "gone.db")
    again = Tracker(study, folder)
    again.open_parent()
    again.sync_all()
    assert history("trials/0000", folder) == before
    run = runs_of(folder)["trials/0000"]
    assert (run.info.status, run.data.tags["supercm.reason"]) == ("KILLED", "stopped early")


def test_many_epochs_go_in_several_batches(study: Study, folder: StudyFolder) -> None:
    tracker = Tracker(study, folder)
    write_run(folder, study, "trials/0000", 700)
    tracker.sync_all()
    assert len(history("trials/0000", folder)) == 700


def test_a_resumed_run_is_running_again_and_then_ends(study: Study, folder: StudyFolder) -> None:
    tracker = Tracker(study, folder)
    record = write_run(folder, study, "trials/0000", 1)
    for status, expected in (("interrupted", "KILLED"), ("running", "RUNNING"), ("complete", "FINISHED")):
        changed = dataclasses.replace(record, status=status, ended_ms=None if status == "running" else now_ms())
        folder.run("trials/0000").write(changed)
        tracker.sync("trials/0000")
        assert runs_of(folder)["trials/0000"].info.status == expected


class FailingTracker(Tracker):
    """Refuses the first three writes, as a server does that is restarted."""

    refusals = 3

    def sync(self, key: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise MlflowException("the server is away")
        super().sync(key)


def test_failing_writes_are_warned_of_once_and_made_up_for(
    study: Study, folder: StudyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = FailingTracker(study, folder)
    tracker.open_parent()
    with caplog.at_level(logging.WARNING, logger="supercm_ray"), background(tracker) as writer:
        for number in range(3):
            write_run(folder, study, f"trials/{number:04d}", 2)
            writer.sync(f"trials/{number:04d}")
            writer.flush()
    assert sum("sends it later" in message for message in caplog.messages) == 1
    assert set(runs_of(folder)) == {"study", "trials/0000", "trials/0001", "trials/0002"}


class InterruptedTracker(Tracker):
    """Is cut off after a run was made and before it was described."""

    def _log_params(self, run_id: str, params: dict[str, object]) -> None:
        if "label_budget" in params:
            raise MlflowException("cut off")
        super()._log_params(run_id, params)


def test_a_run_that_was_made_but_not_described_is_described_later(study: Study, folder: StudyFolder) -> None:
    write_run(folder, study, "trials/0000", 2)
    interrupted = InterruptedTracker(study, folder)
    with pytest.raises(MlflowException):
        interrupted.sync_all()
    assert not runs_of(folder)["trials/0000"].data.params
    Tracker(study, folder).sync_all()
    run = runs_of(folder)["trials/0000"]
    assert run.data.params["algorithm.clustering_weight"] == "1.0"
    client = MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["splits.npz"]
    assert len(runs_of(folder)) == 1


class BrokenTracker(Tracker):
    """Fails in a way nobody thought of."""

    def sync(self, key: str) -> None:
        raise ZeroDivisionError


def test_a_writer_that_fails_in_any_way_does_not_hang(study: Study, folder: StudyFolder) -> None:
    write_run(folder, study, "trials/0000", 1)
    with background(BrokenTracker(study, folder)) as writer:
        writer.sync("trials/0000")
        writer.flush()


def test_nothing_secret_goes_in(study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret-token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret-ray")
    tracker = Tracker(study, folder)
    tracker.open_parent()
    write_run(folder, study, "trials/0000", 1)
    tracker.sync_all()
    for run in runs_of(folder).values():
        assert "s3cret" not in str({**run.data.tags, **run.data.params})
