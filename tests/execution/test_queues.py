"""How runs end: the record first, then Optuna."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from supercm_ray.config import Study, load_study
from supercm_ray.data import Dataset
from supercm_ray.execution.queues import FinalistQueue, TrialQueue, final_status
from supercm_ray.execution.recorder import NullCallback, Recorder
from supercm_ray.execution.stopping import NoStopping
from supercm_ray.records import EpochMetrics, RunFailed, RunView, StudyFolder
from supercm_ray.search import TrialSource, plan_finalists

OVERRIDES = {"algorithm.clustering_weight": 1.0, "data.label_ratio": 0.1}


@pytest.fixture
def recorder(tmp_path: Path, small_study: Path, digits: Dataset) -> Recorder:
    study = load_study(small_study)
    folder = StudyFolder.open(tmp_path, study.name, study.identity())
    return Recorder(study, folder, digits, NullCallback(), lambda key: None)


@pytest.fixture
def study(recorder: Recorder) -> Study:
    return recorder.study


def epoch(number: int, accuracy: float = 0.5) -> EpochMetrics:
    return EpochMetrics(number, {"val/accuracy": accuracy})


def test_the_last_epoch_decides_the_status(study: Study) -> None:
    assert study.base.training.num_epochs == 3
    assert final_status(study, OVERRIDES, epoch(3), None) == ("complete", None)
    status, why = final_status(study, OVERRIDES, epoch(2), None)
    assert (status, why and why.reason) == ("pruned", "stopped early after epoch 2 of 3")
    failure = RunFailed(2, "the loss is nan")
    assert final_status(study, OVERRIDES, epoch(3), failure) == ("failed", failure)


def test_a_run_without_an_epoch_failed_by_its_process(study: Study) -> None:
    status, why = final_status(study, OVERRIDES, None, None)
    assert (status, why) == ("failed", RunFailed(0, "it ended without an epoch", by_process=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_no_number_fails_with_the_reason(study: Study, value: float) -> None:
    status, why = final_status(study, OVERRIDES, epoch(3, value), None)
    assert status == "failed"
    assert why is not None
    assert "the objective is not a number in epoch 3" in why.reason
    assert not why.by_process


class DeafSource(TrialSource):
    """Where trials come from, of which it is told in vain."""

    def tell(self, trial: RunView) -> None:
        raise RuntimeError("Optuna is away")


def test_the_record_is_closed_before_optuna_is_told(recorder: Recorder, study: Study) -> None:
    """A kill in between leaves the record, from which Optuna's storage is brought up to date."""
    queue = TrialQueue(recorder, DeafSource(study, recorder.folder, []), NoStopping(study))
    run = queue.next()
    assert run is not None
    assert recorder.folder.run(run.key).record().status == "running"
    assert not any(queue.take(run, epoch(number)) for number in (1, 2, 3))
    with pytest.raises(RuntimeError, match="Optuna is away"):
        queue.end(run, None)
    assert recorder.folder.run(run.key).record().status == "complete"


def test_an_epoch_told_twice_is_taken_once(recorder: Recorder, study: Study) -> None:
    """A trial that begins again from its checkpoint tells its epochs from the first; none is decided on again."""

    class StopsAtTwo(NoStopping):
        def decide(self, key: str, overrides: object, message: EpochMetrics) -> bool:
            return message.epoch == 2

    queue = TrialQueue(recorder, TrialSource(study, recorder.folder, []), StopsAtTwo(study))
    run = queue.next()
    assert run is not None
    assert [queue.take(run, epoch(number)) for number in (1, 1, 2, 2, 1)] == [False, False, True, False, False]
    queue.end(run, None)
    view = recorder.folder.run(run.key).view()
    assert view is not None
    assert [metrics["epoch"] for metrics in view.history] == [1, 2]
    assert (view.record.status, view.record.reason) == ("pruned", "stopped early after epoch 2 of 3")


def test_finalists_are_handed_out_in_order_and_never_stopped(recorder: Recorder, study: Study) -> None:
    planned = plan_finalists(study, {(0.1,): OVERRIDES})
    queue = FinalistQueue(recorder, planned)
    assert queue.num_left == len(planned) == 4
    for finalist in planned:
        run = queue.next()
        assert run is not None
        assert (run.key, run.overrides) == (finalist.key, finalist.overrides)
        assert not any(queue.take(run, epoch(number, 0.01)) for number in (1, 2, 3))
        queue.end(run, None)
        assert recorder.folder.run(run.key).record().status == "complete"
    assert queue.next() is None
