"""MLflow as a sync: complete, nothing twice, and harmless when it fails."""

from __future__ import annotations

import dataclasses
import json
import logging
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from supercm_ray.config import Leaf, Study
from supercm_ray.errors import TrackingError
from supercm_ray.records import RunRecord, StudyFolder, now_ms
from supercm_ray.testing.tracker import small_model, write_run
from supercm_ray.tracking import background
from supercm_ray.tracking.mlflow import MlflowTracker
from supercm_ray.tracking.mlflow.describing import run_name
from supercm_ray.tracking.mlflow.runs import MlflowRuns
from supercm_ray.tracking.mlflow.tracker import MODEL_URI

from .conftest import client, epochs, runs

TESTED = {"test/accuracy": 0.75}

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("database")]


def write_splits(folder: StudyFolder, key: str) -> None:
    """Four splits, of other samples each."""
    names = ("labeled", "unlabeled", "val", "test")
    np.savez(folder.run(key).splits, **{name: np.arange(number, 9) for number, name in enumerate(names)})


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


def test_a_parent_that_could_not_be_asked_for_is_there_in_the_end(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `report`, while a server answers a part of what it is asked."""
    write_run(folder, study, num_epochs=2, status="complete")

    def refused(*args: object) -> None:
        raise MlflowException("the server is away")

    with background(MlflowTracker(study, folder), folder=folder) as guarded:
        with monkeypatch.context() as patched:
            patched.setattr(MlflowRuns, "search", refused)
            is_open = guarded.attach_study()
        guarded.sync("trials/0000")
        if is_open:
            guarded.close_study("complete")
    found = runs()
    assert found["trials/0000"].data.tags["mlflow.parentRunId"] == found["study"].info.run_id
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_a_run_without_its_parent_is_given_it(study: Study, folder: StudyFolder) -> None:
    write_run(folder, study, num_epochs=2, status="complete")
    MlflowTracker(study, folder).sync_all()
    assert "mlflow.parentRunId" not in runs()["trials/0000"].data.tags
    tracker = MlflowTracker(study, folder)
    tracker.attach_study()
    tracker.sync_all()
    assert runs()["trials/0000"].data.tags["mlflow.parentRunId"] == tracker.run_id()


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


def test_an_error_of_the_database_is_one_line(
    study: Study, folder: StudyFolder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """MLflow writes the traceback of each error of its database to the terminal, as of a full disk."""
    write_run(folder, study, num_epochs=2, status="complete")
    with background(MlflowTracker(study, folder), folder=folder) as guarded:
        guarded.open_study()
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            database.execute("DROP TABLE tags")
        guarded.close_study("complete")
    assert "Traceback" not in capfd.readouterr().err


def test_a_deleted_experiment_is_refused_with_the_way_back(study: Study, folder: StudyFolder) -> None:
    MlflowTracker(study, folder)
    experiment_id = client().get_experiment_by_name("supercm_ray").experiment_id
    client().delete_experiment(experiment_id)
    with pytest.raises(TrackingError, match=f"must be active at .*mlflow experiments restore -x {experiment_id}"):
        MlflowTracker(study, folder)


def test_a_model_is_kept_once_under_its_run_with_the_runs_parameters(study: Study, folder: StudyFolder) -> None:
    tracker = MlflowTracker(study, folder)
    parent = tracker.open_study()
    for key, weight in (("finalists/a", 0.5), ("finalists/b", 2.0)):
        record = write_run(folder, study, key, status="complete")
        params = {**record.params, "algorithm.clustering_weight": weight}
        folder.run(key).write(dataclasses.replace(record, kind="finalist", params=params, summary=TESTED))
    tracker.sync_all()
    first = tracker.log_model(small_model("finalists/a"))
    assert MlflowTracker(study, folder).open_study() == parent
    assert tracker.log_model(small_model("finalists/a")) == first
    other = tracker.log_model(small_model("finalists/b", scale=3.0), is_best=True)
    assert other != first
    module = mlflow.pytorch.load_model(other)
    assert module(torch.ones(2, 3)).tolist() == [[9.0, 9.0]] * 2
    kept = client().get_logged_model(other.removeprefix("models:/"))
    assert (kept.name, kept.status) == ("a-model", "READY")
    assert kept.source_run_id == runs()["finalists/b"].info.run_id
    assert kept.params["algorithm.clustering_weight"] == "2.0"
    assert {metric.key for metric in kept.metrics} == {"val/accuracy", "test/accuracy"}
    assert (runs()["study"].data.tags[MODEL_URI], MODEL_URI in runs()["finalists/a"].data.tags) == (other, True)
    assert epochs("finalists/b", "test/accuracy") == [(0, 0.75)], "once, though it is the model's too"
    assert epochs("finalists/b") == [(1, 0.01), (2, 0.02), (3, 0.03)]


def test_a_model_is_stored_though_its_run_was_not_sent(study: Study, folder: StudyFolder) -> None:
    """As of a study that was complete before MLflow was there."""
    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    write_run(folder, study, status="complete")
    uri = tracker.log_model(small_model())
    kept = client().get_logged_model(uri.removeprefix("models:/"))
    assert kept.source_run_id == runs()["trials/0000"].info.run_id
    assert epochs("trials/0000") == [(1, 0.01), (2, 0.02), (3, 0.03)]


def test_models_are_ranked_by_the_metric_on_a_dataset(study: Study, folder: StudyFolder) -> None:
    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    for number, key in enumerate(("finalists/a", "finalists/b")):
        record = write_run(folder, study, key, status="complete")
        tested = {"test/accuracy": 0.5 + number / 4}
        folder.run(key).write(dataclasses.replace(record, kind="finalist", summary=tested))
        write_splits(folder, key)
        tracker.sync(key)
        tracker.log_model(small_model(key))
    test = next(one for one in runs()["finalists/a"].inputs.dataset_inputs if one.tags[0].value == "test").dataset
    order = [{"field_name": "metrics.test/accuracy", "dataset_name": test.name, "dataset_digest": test.digest}]
    experiment_id = client().get_experiment_by_name("supercm_ray").experiment_id
    found = client().search_logged_models([experiment_id], order_by=[{**order[0], "ascending": False}])
    assert [one.source_run_id for one in found] == [runs()[f"finalists/{name}"].info.run_id for name in "ba"]
    assert {metric.dataset_digest for metric in found[0].metrics if metric.key == "test/accuracy"} == {test.digest}


def test_a_model_is_registered_once(study: Study, folder: StudyFolder) -> None:
    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    write_run(folder, study, status="complete")
    tracker.sync_all()
    uri = tracker.log_model(small_model())
    assert [tracker.register_model(uri, "digits"), tracker.register_model(uri, "digits")] == ["1", "1"]
    (version,) = client().search_model_versions("name = 'digits'")
    assert version.run_id == runs()["trials/0000"].info.run_id


def test_a_run_is_described_as_mlflow_describes_its_own(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/supercm-ray", "tune"])
    tracker = MlflowTracker(study, folder)
    parent = tracker.open_study()
    tracker.log_note("**found**")
    for labels, accuracy in ((20, 0.5), (40, 0.75), (20, 0.5)):
        tracker.log_metrics({"tuned/test_accuracy_mean": accuracy}, labels)
    write_run(folder, study, status="complete")
    write_splits(folder, "trials/0000")
    tracker.sync_all()
    for run in runs().values():
        found = run.data.tags
        assert found["mlflow.user"]
        assert (found["mlflow.source.name"], found["mlflow.source.type"]) == ("/somewhere/bin/supercm-ray", "LOCAL")
    study_run, trial = runs()["study"], runs()["trials/0000"]
    assert study_run.data.tags["mlflow.note.content"].startswith("**found**")
    assert f"runs/{parent}/artifacts/report.html" in study_run.data.tags["mlflow.note.content"]
    assert study_run.data.tags["supercm.varied"].split(", ")[0] in study.space
    assert epochs("study", "tuned/test_accuracy_mean") == [(20, 0.5), (40, 0.75)]
    assert [one.tags[0].value for one in trial.inputs.dataset_inputs] == ["train", "unlabeled", "val", "test"]
    assert len({one.dataset.digest for one in trial.inputs.dataset_inputs}) == 4
    assert (trial.data.metrics["best/val/accuracy"], trial.data.metrics["best/epoch"]) == (0.03, 3)
    both = study_run.data.params.keys() & trial.data.params.keys()
    assert {name for name in both if study_run.data.params[name] != trial.data.params[name]} == set()


def test_what_is_printed_opens_the_studys_own_view(study: Study, folder: StudyFolder) -> None:
    with background(MlflowTracker(study, folder), folder=folder) as guarded:
        guarded.open_study()
        opened = guarded.how_to_open
    experiment = client().get_experiment_by_name("supercm_ray")
    key = opened.rsplit("viewStateShareKey=", 1)[1]
    assert f"/#/experiments/{experiment.experiment_id}/runs?" in opened
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    assert all(f"params.`{path}`" in view["selectedColumns"] for path in study.space)
    write_run(folder, study)
    MlflowTracker(study, folder).sync_all()
    assert len(client().search_runs([experiment.experiment_id], view["searchFilter"])) == 1


@pytest.mark.parametrize("group", [[0.01], [0.05, "a data set with a long name"]])
def test_names_tell_runs_apart_in_twenty_characters(study: Study, group: list[Leaf]) -> None:
    space = dict.fromkeys(study.space, 0.123456)
    made = [RunRecord(f"trials/{number:04d}", "trial", space, study.base.leaves(), 0) for number in (7, 8)]
    for arm in ("tuned", "baseline"):
        for seed in (1, 12):
            params, labels = {**study.base.leaves(), "seed": seed}, {"arm": arm, "group": group}
            key = f"finalists/data.label_ratio={group[0]}-{arm}-seed{seed}-a1b2c3"
            made.append(RunRecord(key, "finalist", {}, params, 0, labels))
    names = [run_name(record, study) for record in made]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 20
    assert names[0].startswith("0007 0.123")
    assert all("s12" in name for name in names[3::2])


def test_a_model_that_cannot_be_loaded_leaves_no_ready_one(study: Study, folder: StudyFolder) -> None:
    def load() -> torch.nn.Module:
        raise OSError("gone")

    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    write_run(folder, study, status="complete")
    tracker.sync_all()
    with pytest.raises(OSError, match="gone"):
        tracker.log_model(dataclasses.replace(small_model(), load=load))
    experiment_id = client().get_experiment_by_name("supercm_ray").experiment_id
    assert {str(model.status) for model in client().search_logged_models([experiment_id])} <= {"FAILED"}


@pytest.mark.parametrize("lost", ["create_logged_model", "finalize_logged_model", "log_outputs"])
def test_a_lost_answer_makes_no_second_model(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    request = getattr(MlflowClient, lost)

    def losing(self: MlflowClient, *args: object, **named: object) -> None:
        request(self, *args, **named)
        raise MlflowException("the answer was lost")

    tracker = MlflowTracker(study, folder)
    tracker.open_study()
    write_run(folder, study, status="complete")
    tracker.sync_all()
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, lost, losing)
        with pytest.raises(MlflowException, match="lost"):
            tracker.log_model(small_model())
    uri = tracker.log_model(small_model())
    experiment_id = client().get_experiment_by_name("supercm_ray").experiment_id
    (kept,) = client().search_logged_models([experiment_id])
    assert (f"models:/{kept.model_id}", kept.status) == (uri, "READY")
    (output,) = runs()["trials/0000"].outputs.model_outputs
    assert output.model_id == kept.model_id


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
from supercm_ray.testing.tracker import small_model, write_run
from supercm_ray.tracking.mlflow import MlflowTracker
from pathlib import Path

study, folder = Study(name="a", base=Config(data=DataConfig(label_ratio=0.1))), StudyFolder(Path(), "a", "b")
tracker = MlflowTracker(study, folder)
tracker.open_study()
write_run(folder, study, status="complete")
tracker.sync_all()
assert tracker.log_model(small_model())
logging.getLogger("supercm_ray.tracking").warning("seen %s %s", logging.root.level, logging.root.handlers)
"""


@pytest.mark.slow
def test_keeping_a_model_leaves_the_processs_logging_alone(tmp_path: Path, folder: StudyFolder) -> None:
    command = [sys.executable, "-W", "ignore", "-c", LOGGED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "seen 30 []" in done.stderr) == (0, True), done.stderr
