"""What every tracker must do. A plug-in's author inherits one of the classes in a test module:

    class TestMine(TrackerContract):
        def make(self, study, folder): return MyTracker(study, folder)

    class TestMineKeeps(KeepingTrackerContract):  # for one that keeps runs, and not only passes them on
        def make(self, study, folder): return MyTracker(study, folder)
        def epochs(self, folder, key, metric): ...
        def status(self, folder, key): ...
        statuses = {"running": "open", "complete": "done", ...}

Records are written by hand: neither Ray nor training is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch

from supercm_ray.config import Config, DataConfig, Study
from supercm_ray.records import RunRecord, Status, StudyFolder, now_ms
from supercm_ray.tracking import TrackedModel, Tracker

KEY = "trials/0000"
"""The key of the run that tests write."""


def write_run(
    folder: StudyFolder, study: Study, key: str = KEY, num_epochs: int = 3, status: Status = "running"
) -> RunRecord:
    """Writes a run as a study would, or continues it: `val/accuracy` of epoch n is n / 100."""
    run = folder.run(key)
    record = run.record() or RunRecord(key, "trial", {}, study.base.leaves(), 192, started_ms=now_ms())
    record = dataclasses.replace(record, status=status, ended_ms=None if status == "running" else now_ms())
    run.write(record)
    np.savez(run.splits, labeled=np.arange(3))
    for epoch in range(1, num_epochs + 1):
        run.append({"epoch": epoch, "val/accuracy": epoch / 100, "train/loss": 1.0 / epoch})
    return record


def small_model(run: str = KEY, scale: float = 2.0) -> TrackedModel:
    """Creates a model of three inputs and two outputs, as if this run had trained it."""
    example: npt.NDArray[np.float32] = np.zeros((4, 3), np.float32)

    def load() -> torch.nn.Module:
        layer = torch.nn.Linear(3, 2)
        torch.nn.init.constant_(layer.weight, scale)
        torch.nn.init.zeros_(layer.bias)
        return layer

    return TrackedModel(run, "a.model", load, example, save=Path.mkdir, class_names=("a", "b"))


class TrackerContract:
    """Tests of any tracker, also of one that stores nothing."""

    def make(self, study: Study, folder: StudyFolder) -> Tracker:
        """Creates the tracker under test."""
        raise NotImplementedError

    @pytest.fixture
    def study(self) -> Study:
        """Returns a study with two epochs per run."""
        return Study(name="contract", base=Config(data=DataConfig(label_ratio=0.1)))

    @pytest.fixture
    def folder(self, tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
        """Returns the study's folder, below the working directory."""
        monkeypatch.chdir(tmp_path)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "SUPERCM_TRACKING"):
            monkeypatch.delenv(name, raising=False)
        return StudyFolder.open(tmp_path / "results", study.name, study.identity())

    def test_closing_twice_is_harmless(self, study: Study, folder: StudyFolder) -> None:
        """A tracker can be closed twice, also before anything was opened."""
        tracker = self.make(study, folder)
        tracker.close_study("failed")
        tracker.open_study()
        tracker.close_study("complete")
        tracker.close_study("complete")

    def test_a_run_without_a_record_is_passed_over(self, study: Study, folder: StudyFolder) -> None:
        """A run without a record, such as one that is being created, is skipped."""
        tracker = self.make(study, folder)
        tracker.open_study()
        tracker.sync("trials/0007")
        tracker.sync_all()

    def test_records_are_left_as_they_are(self, study: Study, folder: StudyFolder) -> None:
        """A tracker only reads records."""
        write_run(folder, study, status="complete")
        before = {path: path.read_bytes() for path in folder.run(KEY).path.iterdir()}
        tracker = self.make(study, folder)
        tracker.open_study()
        tracker.sync_all()
        tracker.close_study("complete")
        assert {path: path.read_bytes() for path in before} == before

    def test_the_parent_run_is_the_same_for_every_process(self, study: Study, folder: StudyFolder) -> None:
        """A second tracker of the study finds what the first one made."""
        first = self.make(study, folder).open_study()
        second = self.make(study, folder)
        second.attach_study()
        assert second.open_study() == second.run_id() == first

    def test_what_a_study_stores_is_taken(self, study: Study, folder: StudyFolder, tmp_path: Path) -> None:
        """Files, metrics and a model are stored, each also a second time; the model keeps its address."""
        write_run(folder, study, status="complete")
        (tmp_path / "page.html").write_text("page", encoding="utf-8")
        tracker = self.make(study, folder)
        tracker.open_study()
        tracker.sync_all()
        for _ in range(2):
            tracker.log_files({tmp_path / "page.html": "", folder.run(KEY).splits: "plots"})
            tracker.log_metrics({"tuned/test_accuracy_mean": 0.5, "gain_mean": float("nan")})
            tracker.log_metrics({"gain_mean": 0.25}, step=20)
            tracker.log_note("what was **found**")
        uri = tracker.log_model(small_model())
        assert uri == tracker.log_model(small_model(), is_best=True)
        if uri:
            assert tracker.register_model(uri, "mine") == tracker.register_model(uri, "mine")


class KeepingTrackerContract(TrackerContract):
    """Tests of a tracker that stores runs and can be asked for them."""

    statuses: ClassVar[Mapping[Status, str]]
    """The tool's word for each status."""

    def epochs(self, folder: StudyFolder, key: str, metric: str) -> list[tuple[int, float]]:
        """Returns epoch and value of a metric of a run in the tool, in order."""
        raise NotImplementedError

    def status(self, folder: StudyFolder, key: str) -> str:
        """Returns the tool's word for the status of a run."""
        raise NotImplementedError

    def parent(self, folder: StudyFolder, key: str) -> str:
        """Returns the id of the run that the tool shows a run below."""
        raise NotImplementedError

    def test_each_epoch_is_there_once(self, study: Study, folder: StudyFolder) -> None:
        """Each epoch is there once, however often a run is synced."""
        tracker = self.make(study, folder)
        tracker.open_study()
        for num_epochs in (0, 1, 1, 3):
            write_run(folder, study, num_epochs=num_epochs)
            tracker.sync(KEY)
        tracker.sync_all()
        assert self.epochs(folder, KEY, "val/accuracy") == [(1, 0.01), (2, 0.02), (3, 0.03)]
        assert self.epochs(folder, KEY, "train/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]

    def test_a_resumed_study_doubles_nothing(self, study: Study, folder: StudyFolder) -> None:
        """A study whose first process was killed, without closing its tracker, is continued without duplicates."""
        write_run(folder, study, num_epochs=2)
        killed = self.make(study, folder)
        killed.open_study()
        killed.sync(KEY)
        write_run(folder, study, "trials/0001", num_epochs=1, status="complete")
        killed.sync_all()
        resumed = self.make(study, folder)
        resumed.open_study()
        write_run(folder, study, num_epochs=4, status="complete")
        resumed.sync(KEY)
        resumed.sync_all()
        resumed.close_study("complete")
        assert self.epochs(folder, KEY, "val/accuracy") == [(epoch, epoch / 100) for epoch in range(1, 5)]
        assert self.epochs(folder, "trials/0001", "val/accuracy") == [(1, 0.01)]

    def test_a_tool_that_lost_everything_is_filled_from_the_records(self, study: Study, folder: StudyFolder) -> None:
        """Runs from before the tracker existed are written too."""
        write_run(folder, study, num_epochs=700, status="pruned")
        tracker = self.make(study, folder)
        tracker.open_study()
        tracker.sync_all()
        assert self.epochs(folder, KEY, "val/accuracy") == [(epoch, epoch / 100) for epoch in range(1, 701)]
        assert self.status(folder, KEY) == self.statuses["pruned"]

    def test_every_status_has_its_word(self, study: Study, folder: StudyFolder) -> None:
        """Each status, that of a resumed run included, has its word in the tool."""
        tracker = self.make(study, folder)
        tracker.open_study()
        stages: tuple[Status, ...] = ("interrupted", "running", "failed", "running", "pruned", "running", "complete")
        for num_epochs, status in enumerate(stages, 1):
            write_run(folder, study, num_epochs=num_epochs, status=status)
            tracker.sync(KEY)
            if status in self.statuses:
                assert self.status(folder, KEY) == self.statuses[status], status
        assert len(self.epochs(folder, KEY, "val/accuracy")) == len(stages)

    def test_runs_are_below_their_study(self, study: Study, folder: StudyFolder) -> None:
        """Each run has an id of its own below the study's."""
        tracker = self.make(study, folder)
        parent = tracker.open_study()
        for key in (KEY, "finalists/best"):
            write_run(folder, study, key)
            tracker.sync(key)
            assert self.parent(folder, key) == parent
        assert len({parent, tracker.run_id(KEY), tracker.run_id("finalists/best")}) == 3
