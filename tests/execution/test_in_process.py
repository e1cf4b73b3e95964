"""The executor of the calling process: the same results as Ray's, and what becomes of a run that does not end well."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from optuna.trial import FrozenTrial
from studies import Place

from supercm_ray import tune
from supercm_ray.algorithms import ALGORITHMS, Step, Terms
from supercm_ray.config import Study, load_study
from supercm_ray.errors import InterruptedStudyError, StudyError
from supercm_ray.execution.attempts import RETRIES
from supercm_ray.execution.in_process import InProcessExecutor
from supercm_ray.execution.recorder import NullCallback
from supercm_ray.records import LAST, REFUSED, RunRecord, StudyFolder

pytestmark = pytest.mark.filterwarnings("ignore")

TIMES = ("timestamp_ms", "epoch_seconds", "started_ms", "ended_ms")


class OnEpoch(NullCallback):
    """Does something once: at an epoch of a run, or at its beginning where no epoch is given."""

    def __init__(self, key: str, epoch: int | None, act: Callable[[], None]) -> None:
        self.key, self.epoch, self.act, self.done = key, epoch, act, False

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        epoch = None if metrics is None else metrics["epoch"]
        if not self.done and record.key.startswith(self.key) and epoch == self.epoch:
            self.done = True
            self.act()


def press_ctrl_c() -> None:
    raise KeyboardInterrupt


def without_times(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name not in TIMES and not name.startswith("system/")}


def records(folder: StudyFolder) -> dict[str, Any]:
    """Every record and its history, without what the clock said."""
    return {
        view.record.key: (without_times(asdict(view.record)), [without_times(metrics) for metrics in view.history])
        for view in folder.views()
    }


def optuna_trials(place: Place) -> list[Any]:
    def told(trial: FrozenTrial) -> Any:
        return trial.params, trial.state, trial.values, trial.intermediate_values, trial.user_attrs

    return [told(trial) for trial in place.optuna().trials]


def mlflow_runs(place: Place) -> dict[str, Any]:
    """Status, tags, parameters, metrics by step, artifacts and the parent of each run."""
    client, runs = place.client(), place.runs()
    names = {run.info.run_id: run.data.tags.get("supercm.run", "parent") for run in runs}

    def tags(run: Any) -> dict[str, str]:
        unlike = ("supercm.study_id", "supercm.study_hash", "supercm.model_uri")
        return {k: v for k, v in run.data.tags.items() if k.startswith("supercm.") and k not in unlike}

    def metrics(run: Any) -> dict[str, Any]:
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        return {name: [(one.step, one.value) for one in history] for name, history in histories.items()}

    return {
        names[run.info.run_id]: (
            run.info.status,
            names.get(run.data.tags.get("mlflow.parentRunId", "")),
            tags(run),
            run.data.params,
            without_times(metrics(run)),
            sorted(item.path for item in client.list_artifacts(run.info.run_id)),
        )
        for run in runs
    }


def check_whole(place: Place) -> None:
    place.check_whole(num_trials=6, num_finalists=2)


def test_the_same_study_under_ray_leaves_the_same(
    place: Place, short: Study, other_place: Place, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial by trial, where Ray runs one trial at a time: records, Optuna's trials and MLflow's runs."""
    under_ray = tune(short, executor="ray", results=place.path / "results")
    monkeypatch.chdir(other_place.path)
    here = tune(load_study(other_place.path / "tiny.yaml"), executor="in-process", results=other_place.path / "results")
    statuses = {record.status for record in place.folder.runs()}
    assert statuses == {"complete", "pruned", "failed"}, "the study shows each end that a run can come to"
    assert records(other_place.folder) == records(place.folder)
    assert optuna_trials(other_place) == optuna_trials(place)
    assert mlflow_runs(other_place) == mlflow_runs(place)
    assert (here.counts, here.report.text) == (under_ray.counts, under_ray.report.text)
    check_whole(place)


@pytest.mark.parametrize(
    ("key", "epoch"),
    [("trials/0002", None), ("trials/0002", 1), ("trials/0000", 4), ("finalists/tuned", 2)],
    ids=["as a trial begins", "in a trial", "in its last epoch", "in a finalist"],
)
def test_an_interruption_is_made_up_for(place: Place, short: Study, key: str, epoch: int | None) -> None:
    with pytest.raises(InterruptedStudyError, match="the same command resumes it"):
        tune(short, executor="in-process", callback=OnEpoch(key, epoch, press_ctrl_c), plots=False)
    (interrupted,) = [record for record in place.folder.runs() if record.status == "interrupted"]
    assert interrupted.key.startswith(key)
    assert "the same command resumes it" in interrupted.reason
    assert len(place.folder.run(interrupted.key).history()) == (epoch or 0)
    ended = [record for record in place.folder.runs() if record.status != "interrupted"]
    assert not [run for run in place.runs() if run.info.status in ("RUNNING", "SCHEDULED")]
    tune(short, executor="in-process", plots=False)
    check_whole(place)
    assert [place.folder.run(record.key).record() for record in ended] == ended


def test_an_interrupted_study_comes_to_the_same_end(place: Place, short: Study, other_place: Place) -> None:
    """A trial and a finalist that went on are what they are in one go."""
    single = short.model_copy(update={"budget": short.budget.model_copy(update={"num_trials": 1})})
    for key in ("trials/0000", "finalists/baseline"):
        with pytest.raises(InterruptedStudyError):
            tune(single, executor="in-process", callback=OnEpoch(key, 2, press_ctrl_c), plots=False)
    tune(single, executor="in-process", plots=False)
    tune(single, executor="in-process", results=other_place.path / "results", plots=False)
    assert records(place.folder) == records(other_place.folder)


def test_stop_ends_the_run_after_its_epoch(place: Place, short: Study) -> None:
    executor = InProcessExecutor()
    with pytest.raises(InterruptedStudyError):
        tune(short, executor=executor, callback=OnEpoch("trials/0000", 2, executor.stop), plots=False)
    (record,) = place.folder.runs()
    assert (record.key, record.status) == ("trials/0000", "interrupted")
    assert len(place.folder.run(record.key).history()) in (2, 3)
    tune(short, executor=executor, plots=False)
    check_whole(place)


class Fault:
    """An algorithm that raises while it is set to."""

    def __init__(self) -> None:
        self.raises, self.calls = False, 0

    def __call__(self, step: Step) -> Terms:
        if self.raises:
            self.calls += 1
            raise ValueError("the algorithm broke\nwith more to say")
        return {}


@pytest.fixture
def fault() -> Iterator[Fault]:
    made = Fault()
    ALGORITHMS.add("at_fault", made)
    yield made
    ALGORITHMS.remove("at_fault")


def test_a_run_that_raises_is_tried_again_then_failed(place: Place, short: Study, fault: Fault) -> None:
    """As where its own process fails; a finalist is run again by the next call, its faults being none of its doing."""

    study = short.model_copy(update={"base": short.base.replace({"algorithm.name": "at_fault"})})
    broken = "finalists/tuned"

    class BreaksOnce(NullCallback):
        def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
            fault.raises = record.status == "running" and record.key.startswith(("trials/0002", broken))

    result = tune(study, executor="in-process", callback=BreaksOnce(), plots=False)
    reason = "the worker process failed: ValueError: the algorithm broke"
    failed = [record for record in place.folder.runs() if record.by_process]
    assert [record.key.partition("-")[0] for record in failed] == [broken, "trials/0002"]
    assert {(record.status, record.reason) for record in failed} == {("failed", reason)}
    assert fault.calls == 2 * (1 + RETRIES)
    assert list(result.failed_finalists.values()) == [reason]
    assert place.optuna().trials[2].state.name == "FAIL"
    assert place.optuna().trials[2].user_attrs == {"reason": reason}
    fault.raises = False
    again = tune(study, executor="in-process", plots=False)
    assert not again.failed_finalists
    assert len(again.rows) == 2
    assert place.folder.run(failed[0].key).record().status == "complete"


def test_a_broken_checkpoint_is_quarantined_and_the_run_starts_afresh(
    place: Place, short: Study, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InterruptedStudyError):
        tune(short, executor="in-process", callback=OnEpoch("trials/0000", 3, press_ctrl_c), plots=False)
    run = place.folder.run("trials/0000")
    before = run.history()
    whole = (run.path / LAST).read_bytes()
    (run.path / LAST).write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        tune(short, executor="in-process", plots=False)
    assert "the run starts afresh" in caplog.text
    assert (run.path / REFUSED).read_bytes() == whole[: len(whole) // 2]
    assert run.history()[: len(before)] == before, "an epoch is recorded once"
    check_whole(place)


def test_several_workers_are_refused_with_the_remedy(place: Place, short: Study) -> None:
    study = short.model_copy(update={"budget": short.budget.model_copy(update={"num_workers": 2})})
    with pytest.raises(StudyError, match=r"got budget\.num_workers=2; set it to 1, or take the executor `ray`"):
        tune(study, executor="in-process")
    assert not (place.path / "results").exists()
