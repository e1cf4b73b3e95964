"""Every tracker of this package under the contract that plug-ins' trackers are tested by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from supercm_ray.config import Study
from supercm_ray.records import Status, StudyFolder
from supercm_ray.testing.tracker import KeepingTrackerContract, TrackerContract, write_run
from supercm_ray.tracking import Tracker
from supercm_ray.tracking.composite import CompositeTracker
from supercm_ray.tracking.mlflow import MlflowTracker
from supercm_ray.tracking.null import NullTracker
from supercm_ray.tracking.tensorboard import TensorBoardTracker

from .conftest import epochs, runs

pytestmark = pytest.mark.filterwarnings("ignore")


def events(folder: StudyFolder, key: str) -> EventAccumulator:
    """What TensorBoard reads of a run."""
    read = EventAccumulator(str(folder.run(key).path / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    return read.Reload()


class TestNull(TrackerContract):
    def make(self, study: Study, folder: StudyFolder) -> Tracker:
        return NullTracker()


@pytest.mark.usefixtures("database")
class TestMlflow(KeepingTrackerContract):
    statuses: ClassVar[Mapping[Status, str]] = {
        "running": "RUNNING",
        "complete": "FINISHED",
        "pruned": "KILLED",
        "interrupted": "KILLED",
        "failed": "FAILED",
    }

    def make(self, study: Study, folder: StudyFolder) -> Tracker:
        return MlflowTracker(study, folder)

    def epochs(self, folder: StudyFolder, key: str, metric: str) -> list[tuple[int, float]]:
        return epochs(key, metric)

    def status(self, folder: StudyFolder, key: str) -> str:
        return str(runs()[key].info.status)

    def parent(self, folder: StudyFolder, key: str) -> str:
        return str(runs()[key].data.tags["mlflow.parentRunId"])


class TestTensorBoard(KeepingTrackerContract):
    statuses: ClassVar[Mapping[Status, str]] = {name: name for name in ("complete", "pruned", "interrupted", "failed")}

    def make(self, study: Study, folder: StudyFolder) -> Tracker:
        return TensorBoardTracker(study, folder)

    def epochs(self, folder: StudyFolder, key: str, metric: str) -> list[tuple[int, float]]:
        return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events(folder, key).Scalars(metric)]

    def status(self, folder: StudyFolder, key: str) -> str:
        return events(folder, key).Tensors("status/text_summary")[-1].tensor_proto.string_val[0].decode()

    def parent(self, folder: StudyFolder, key: str) -> str:
        """Shown below the study by its place."""
        assert folder.run(key).path.is_relative_to(folder.path)
        return str(folder.path.resolve() / "tensorboard")


class TestMlflowBesideTensorBoard(TestMlflow):
    """MLflow's part of both at once."""

    def make(self, study: Study, folder: StudyFolder) -> Tracker:
        return CompositeTracker([NullTracker(), MlflowTracker(study, folder), TensorBoardTracker(study, folder)])


class TestTensorBoardBesideNone(TestTensorBoard):
    """TensorBoard's part of both at once."""

    def make(self, study: Study, folder: StudyFolder) -> Tracker:
        return CompositeTracker([TensorBoardTracker(study, folder), NullTracker()])


def test_tensorboard_has_the_configuration_and_the_end(study: Study, folder: StudyFolder) -> None:
    record = dataclasses.replace(write_run(folder, study, status="complete"), summary={"test/accuracy": 0.75})
    folder.run(record.key).write(record)
    tracker = TensorBoardTracker(study, folder)
    tracker.sync_all()
    tracker.log_metrics({"gain_mean": 0.25})
    tracker.log_metrics({"gain_mean": 0.25})
    read = events(folder, record.key)
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(read.summary_metadata)
    assert [event.value for event in read.Scalars("final/test/accuracy")] == [0.75]
    of_study = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert [event.value for event in of_study.Scalars("gain_mean")] == [0.25]
