"""What becomes of the errors of a run: those that are final are its last message, others are raised for another try."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from supercm_ray.config import Budget
from supercm_ray.data import Splits, load_dataset
from supercm_ray.errors import CheckpointError, DivergedError, StorageError, SuperCMError, WorkersError
from supercm_ray.execution.attempts import PROCESS_FAILED, RETRIES, attempt
from supercm_ray.execution.executor import Phase, Run, RunQueue
from supercm_ray.execution.place import Needs, Place
from supercm_ray.records import LAST, REFUSED, EpochMetrics, Message, RunFailed, StudyFolder
from supercm_ray.runtime.tune_trainable import TrialRunner
from supercm_ray.testing.executor import tiny_study
from supercm_ray.training import Job

SPLITS = Splits(*(np.arange(first, first + 10) for first in (0, 10, 20, 30)))
RUN = Run("trials/0000", "trial", splits=SPLITS.serialize())


class Scripted:
    """An executor whose run says so many epochs and then raises, as often as there are errors."""

    def __init__(self, *errors: Exception, epochs: int = 0) -> None:
        self._errors, self._epochs = list(errors), epochs

    def session(self, needs: Needs) -> AbstractContextManager[Place]:
        return nullcontext(Place("nowhere"))

    def capacity(self, budget: Budget) -> int:
        return 1

    def run(self, job: Job, budget: Budget) -> Generator[Message]:
        for epoch in range(1, self._epochs + 1):
            yield EpochMetrics(epoch, {"val/accuracy": 0.5})
        if self._errors:
            raise self._errors.pop(0)

    def run_all(self, phase: Phase, queue: RunQueue) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    study = tiny_study()
    folder = StudyFolder.open(tmp_path, study.name, study.identity())
    dataset = load_dataset(study.base.data)
    return Phase("search", study, folder, dataset, evaluate_test=False)


@pytest.fixture
def checkpoint(phase: Phase) -> Path:
    path = phase.folder.run(RUN.key).path / LAST
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a checkpoint")
    return path


def test_a_storage_that_fails_is_raised_and_no_checkpoint_quarantined(phase: Phase, checkpoint: Path) -> None:
    error = StorageError("a checkpoint must be read from s3://bucket, got timed out")
    with pytest.raises(StorageError, match="timed out"):
        list(attempt(Scripted(error), phase, RUN))
    assert checkpoint.exists()


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DivergedError("the loss is nan"), RunFailed(0, "the loss is nan")),
        (WorkersError("died", "all"), RunFailed(0, f"{PROCESS_FAILED}: died", by_process=True, traceback="all")),
        (WorkersError("gone", is_lost=True), RunFailed(0, f"{PROCESS_FAILED}: gone", by_process=True, is_lost=True)),
    ],
)
def test_what_is_final_is_the_last_message(phase: Phase, error: SuperCMError, told: RunFailed, epochs: int) -> None:
    *before, last = attempt(Scripted(error, epochs=epochs), phase, RUN)
    assert [message.epoch for message in before] == list(range(1, epochs + 1))
    assert last == replace(told, epoch=epochs)


def test_a_checkpoint_that_is_refused_is_quarantined_once(phase: Phase, checkpoint: Path) -> None:
    """A second refusal is not the checkpoint's fault, and so the run's."""
    errors = CheckpointError("broken"), CheckpointError("still broken")
    (last,) = attempt(Scripted(*errors), phase, RUN)
    assert last == RunFailed(0, "still broken")
    assert not checkpoint.exists()
    assert checkpoint.with_name(REFUSED).read_bytes() == b"a checkpoint"


def test_a_checkpoint_error_after_an_epoch_ends_the_run(phase: Phase, checkpoint: Path) -> None:
    """It cannot be written: to start afresh would lose what is there."""
    *_, last = attempt(Scripted(CheckpointError("no space"), epochs=1), phase, RUN)
    assert last == RunFailed(1, "no space")
    assert checkpoint.exists()


def test_tune_gets_the_reason_as_the_last_step(phase: Phase) -> None:
    runner = TrialRunner.__new__(TrialRunner)
    scripted = Scripted(DivergedError("the loss is nan"), epochs=1)
    runner.setup({"run": RUN, "left_out": ()}, phase=phase, make_executor=lambda left_out: scripted)
    first, last = runner.step(), runner.step()
    assert not first["done"]
    assert [message.epoch for message in first["messages"]] == [1]
    assert last == {"messages": (RunFailed(1, "the loss is nan"),), "done": True, "storage_failure": ""}


def test_tune_is_told_of_a_storage_that_fails_again_and_again(phase: Phase) -> None:
    runner = TrialRunner.__new__(TrialRunner)
    scripted = Scripted(*(StorageError("timed out") for _ in range(1 + RETRIES)))
    runner.setup({"run": RUN, "left_out": ()}, phase=phase, make_executor=lambda left_out: scripted)
    assert runner.step() == {"messages": (), "done": True, "storage_failure": "timed out"}
