"""MLflow as a sync: complete, nothing twice, and harmless when it fails."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow.exceptions import MlflowException

from supercm_ray.config import Study
from supercm_ray.errors import TrackingError
from supercm_ray.records import StudyFolder, now_ms
from supercm_ray.testing.tracker import small_model, write_run
from supercm_ray.tracking import background
from supercm_ray.tracking.mlflow import MlflowTracker
from supercm_ray.tracking.mlflow.runs import MlflowRuns

from .conftest import client, epochs, runs

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("database")]


def test_syncing_twice_and_by_two_trackers_writes_once(study: Study, folder: StudyFolder) -> None:
    tracker = MlflowTracker(study, folder)
    parent = tracker.open_study()
    write_run(folder, study, num_epochs=3)
    tracker.sync("trials/0000")
    tracker.sync("trials/0000")
    other = MlflowTracker(study, folder)
    assert other.open_study() == parent
    write_run(folder, study, "trials/0000", 5)
    other.sync_all()
    assert epochs("trials/0000") == [(epoch, epoch / 100) for epoch in range(1, 6)]
    assert epochs("trials/0000", "train/loss") == [(epoch, 1.0 / epoch) for epoch in range(1, 6)]
    assert len(runs()) == 2
    assert runs()["trials/0000"].data.tags["mlflow.parentRunId"] == parent


def test_a_lost_database_is_made_again_from_the_records(study: Study, folder: StudyFolder, tmp_path: Path) -> None:
    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    record = write_run(folder, study, "trials/0000", 4)
    folder.run("trials/0000").write(record.ended("pruned", "stopped early"))
    tracker.sync_all()
    before = epochs("trials/0000")
    (tmp_path / "mlflow.db").rename(tmp_path / "gone.db")
    again = MlflowTracker(study, folder)
    again.open_study()
    again.sync_all()
    assert epochs("trials/0000") == before
    run = runs()["trials/0000"]
    assert (run.info.status, run.data.tags["supercm.reason"]) == ("KILLED", "stopped early")


def test_a_resumed_run_is_running_again_and_then_ends(study: Study, folder: StudyFolder) -> None:
    tracker = MlflowTracker(study, folder)
    record = write_run(folder, study, "trials/0000", 1)
    for status, expected in (("interrupted", "KILLED"), ("running", "RUNNING"), ("complete", "FINISHED")):
        changed = dataclasses.replace(record, status=status, ended_ms=None if status == "running" else now_ms())
        folder.run("trials/0000").write(changed)
        tracker.sync("trials/0000")
        assert runs()["trials/0000"].info.status == expected


class FailingTracker(MlflowTracker):
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
    tracker.open_study()
    with caplog.at_level(logging.WARNING, logger="supercm_ray"), background(tracker) as writer:
        for number in range(3):
            write_run(folder, study, f"trials/{number:04d}", 2)
            writer.sync(f"trials/{number:04d}")
            writer.flush()
    assert sum("sends it later" in message for message in caplog.messages) == 1
    assert set(runs()) == {"study", "trials/0000", "trials/0001", "trials/0002"}


def test_a_run_that_was_made_but_not_described_is_described_later(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: MlflowRuns, run_id: str, params: object) -> None:
        raise MlflowException("cut off")

    write_run(folder, study, "trials/0000", 2)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowRuns, "log_params", interrupted)
        with pytest.raises(MlflowException):
            MlflowTracker(study, folder).sync_all()
    assert not runs()["trials/0000"].data.params
    MlflowTracker(study, folder).sync_all()
    run = runs()["trials/0000"]
    assert run.data.params["algorithm.clustering_weight"] == "1.0"
    assert [item.path for item in client().list_artifacts(run.info.run_id)] == ["splits.npz"]
    assert len(runs()) == 1


def test_nothing_secret_goes_in(study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret-token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret-ray")
    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    write_run(folder, study, "trials/0000", 1)
    tracker.sync_all()
    for run in runs().values():
        assert "s3cret" not in str({**run.data.tags, **run.data.params})


def test_a_first_question_that_fails_makes_no_run_twice(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(folder, study, num_epochs=2)
    MlflowTracker(study, folder).sync_all()
    other = MlflowTracker(study, folder)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowRuns, "search", _away)
        with pytest.raises(MlflowException):
            other.sync("trials/0000")
    other.sync("trials/0000")
    assert len(client().search_runs([client().get_experiment_by_name("supercm_ray").experiment_id])) == 1


def test_a_lost_answer_makes_no_second_run(study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    create = MlflowRuns.create

    def losing(self: MlflowRuns, *args: object, **named: object) -> str:
        create(self, *args, **named)  # type: ignore[arg-type]
        raise MlflowException("the answer was lost")

    write_run(folder, study, num_epochs=2, status="complete")
    tracker = MlflowTracker(study, folder)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowRuns, "create", losing)
        for call in (tracker.open_study, lambda: tracker.sync("trials/0000")):
            with pytest.raises(MlflowException):
                call()
    with background(tracker, folder=folder) as guarded:
        guarded.open_study()
        guarded.close_study("complete")
    assert len(client().search_runs([client().get_experiment_by_name("supercm_ray").experiment_id])) == 2
    assert {run.info.status for run in runs().values()} == {"FINISHED"}


def test_a_run_that_was_created_twice_is_kept_once(study: Study, folder: StudyFolder) -> None:
    """A request may be slower than its answer is waited for."""
    write_run(folder, study, num_epochs=2)
    for _ in range(2):
        tracker = MlflowTracker(study, folder)
        tracker._children = {}
        tracker.sync("trials/0000")
    MlflowTracker(study, folder).sync_all()
    assert len(client().search_runs([client().get_experiment_by_name("supercm_ray").experiment_id])) == 1
    assert epochs("trials/0000") == [(1, 0.01), (2, 0.02)]


def test_metrics_are_written_where_artifacts_cannot_be(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object) -> None:
        raise PermissionError("the artifact root is read-only")

    write_run(folder, study, num_epochs=2, status="complete")
    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "log_artifact", refused)
        with pytest.raises(PermissionError):
            MlflowTracker(study, folder).sync_all()
    assert epochs("trials/0000") == [(1, 0.01), (2, 0.02)]
    assert runs()["trials/0000"].info.status == "FINISHED"


def _away(self: MlflowRuns, condition: str) -> None:
    raise MlflowException("the server is away")


def test_a_deleted_experiment_is_refused_with_the_way_back(study: Study, folder: StudyFolder) -> None:
    MlflowTracker(study, folder)
    experiment_id = client().get_experiment_by_name("supercm_ray").experiment_id
    client().delete_experiment(experiment_id)
    with pytest.raises(TrackingError, match=f"must be active at .*mlflow experiments restore -x {experiment_id}"):
        MlflowTracker(study, folder)


def test_a_model_is_kept_once_under_a_name_that_mlflow_takes(study: Study, folder: StudyFolder) -> None:
    write_run(folder, study, status="complete")
    tracker = MlflowTracker(study, folder)
    parent = tracker.open_study()
    tracker.log_metrics({"gain_mean": 0.25})
    first = tracker.log_model(small_model("finalists/a"))
    assert MlflowTracker(study, folder).open_study() == parent
    assert tracker.log_model(small_model("finalists/a")) == first
    other = tracker.log_model(small_model("finalists/b", scale=3.0))
    assert other != first
    module = mlflow.pytorch.load_model(other)
    assert module(torch.ones(2, 3)).tolist() == [[9.0, 9.0]] * 2
    kept = client().get_logged_model(other.removeprefix("models:/"))
    assert (kept.name, kept.status, kept.source_run_id) == ("a-model", "READY", parent)
    assert [metric.key for metric in kept.metrics] == ["gain_mean"]


def test_a_model_that_cannot_be_loaded_leaves_no_ready_one(study: Study, folder: StudyFolder) -> None:
    def load() -> torch.nn.Module:
        raise OSError("gone")

    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    with pytest.raises(OSError, match="gone"):
        tracker.log_model(dataclasses.replace(small_model(), load=load))
    experiment_id = client().get_experiment_by_name("supercm_ray").experiment_id
    assert {str(model.status) for model in client().search_logged_models([experiment_id])} <= {"FAILED"}


BEGIN = """
import os, sys, time
from pathlib import Path
from supercm_ray.tracking.mlflow.place import connect
Path(f"ready-{os.getpid()}").touch()
while not Path("go").exists():
    time.sleep(0.01)
connect(f"sqlite:///{Path.cwd() / 'new.db'}")
"""


@pytest.mark.slow
def test_commands_begun_at_once_make_one_database(tmp_path: Path, folder: StudyFolder) -> None:
    begun = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", BEGIN], cwd=tmp_path) for _ in range(2)]
    while len(list(tmp_path.glob("ready-*"))) < 2:
        time.sleep(0.05)
    (tmp_path / "go").touch()
    assert [process.wait(timeout=120) for process in begun] == [0, 0]
    assert {path.name for path in tmp_path.glob("*new.db*")} | {path.name for path in tmp_path.glob(".*")} == {"new.db"}


LOGGED = """
import logging
from supercm_ray.config import Config, DataConfig, Study
from supercm_ray.records import StudyFolder
from supercm_ray.testing.tracker import small_model
from supercm_ray.tracking.mlflow import MlflowTracker
from pathlib import Path

tracker = MlflowTracker(Study(name="a", base=Config(data=DataConfig(label_ratio=0.1))), StudyFolder(Path(), "a", "b"))
tracker.open_study()
assert tracker.log_model(small_model())
logging.getLogger("supercm_ray.tracking").warning("seen %s %s", logging.root.level, logging.root.handlers)
"""


@pytest.mark.slow
def test_keeping_a_model_leaves_the_processs_logging_alone(tmp_path: Path, folder: StudyFolder) -> None:
    command = [sys.executable, "-W", "ignore", "-c", LOGGED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "seen 30 []" in done.stderr) == (0, True), done.stderr
