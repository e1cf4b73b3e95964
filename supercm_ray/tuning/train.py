"""The command `train`: one run of a base configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from supercm_ray.config import ClusterOptions, Config, Study, on_workers
from supercm_ray.errors import InterruptedStudyError, StorageError
from supercm_ray.execution.attempts import job_of
from supercm_ray.execution.executor import Executor, Run
from supercm_ray.execution.interruption import check_interrupt
from supercm_ray.execution.lifecycle import closing_on_error, driving
from supercm_ray.execution.phases import describe_data
from supercm_ray.execution.place import DEFAULT_CLUSTER, Needs
from supercm_ray.execution.recorder import Callback, NullCallback, Recorder
from supercm_ray.records import LAST, RunFailed, RunRecord, Status, StudyFolder, write_study
from supercm_ray.tracking import background, make_tracker, resend_command
from supercm_ray.training.preflight import load_checked
from supercm_ray.tuning.continued import Continuation
from supercm_ray.tuning.found_run import FoundRun, find_run
from supercm_ray.tuning.study import check_storage, log_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """The result of a single run.

    Attributes:
        metrics: metrics of its last epoch, and those of the test split if it was evaluated.
        checkpoint: folder or URI and name of the last checkpoint.
        tracking_uri: address at which the run is tracked; empty if it is not tracked, as are the two below.
        run_id: the tracker's id of the run.
        model_uri: the tracker's URI of the model.
        how_to_open: the commands or addresses that show the tracked run, one a line.
        model_version: the version of the model in the tracker's registry; empty if it is not registered.
    """

    metrics: dict[str, float]
    checkpoint: str
    tracking_uri: str = field(repr=False)  # which may have credentials
    run_id: str
    model_uri: str
    how_to_open: str
    model_version: str = ""


def train(
    study: Study,
    executor: Executor,
    *,
    results: Path,
    evaluate_test: bool = False,
    callback: Callback | None = None,
    continue_from: str | Path | None = None,
    cluster: ClusterOptions = DEFAULT_CLUSTER,
    register: str = "",
) -> TrainResult:
    """Runs a base configuration once (see `supercm_ray.train`, which checks the study)."""
    before = None if continue_from is None else Continuation(find_run(continue_from, results, begun_anew=True))
    dataset = load_checked(study)
    if before is not None:
        before.check_splits(study, dataset)
    identity = study.identity() if before is None else before.identity(study)
    folder = StudyFolder.open(results / "train", f"{study.name}-{identity[:8]}", identity)
    key = f"train/{study.name}"
    with driving(folder):
        folder.run(key).view()  # what is damaged is told before anything is started
        write_study(folder.path, study)
        with background(make_tracker(study, folder), folder=folder, resend=resend_command(folder)) as tracker:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), tracker.sync)
            describe_data(recorder)
            if evaluate_test and not folder.data_summary().has_test:
                logger.warning("there is no test split, so that no figure of a test is computed")
            if before is not None:
                before.write_checkpoints(folder.storage(key, study.base.training.storage_path), study.base)
            run = Run(key, "train", labels={} if before is None else before.labels)
            session = _Session(executor, Needs.of(study, dataset, folder, cluster, recorder.nodes), tracker.uri)
            record = _train_once(recorder, session, run, evaluate_test)
            checkpoint = f"{folder.storage(key, study.base.training.storage_path)}/{LAST}"
            metrics = {**folder.run(key).history()[-1], **record.summary}
            recorder.show(_text(metrics, checkpoint))
            tracker.sync(key)  # also where it was complete before, and the tracker lacks it
            model_uri = log_model(tracker, FoundRun(folder, record), dataset.images[:4])
            run_id = tracker.run_id(key)
            version = tracker.register_model(model_uri, register) if model_uri and register else ""
    return TrainResult(metrics, checkpoint, tracker.uri, run_id, model_uri, tracker.how_to_open, version)


def _text(metrics: Mapping[str, float], checkpoint: str) -> str:
    """Returns metrics and checkpoint as lines."""
    lines = {**{name: f"{value:.4f}" for name, value in metrics.items() if "/" in name}, "checkpoint": checkpoint}
    return "\n".join(f"{name:{max(map(len, lines))}} {text}" for name, text in lines.items())


def placed(study: Study | Config, num_workers: int | tuple[int, int] | None, use_gpu: bool) -> Study:
    """Returns the study with the workers and GPUs that a caller asks for.

    Raises:
        StudyError: if the workers cannot share the study's batches evenly.
    """
    study = Study(name="config", base=study) if isinstance(study, Config) else study
    return on_workers(study, num_workers, use_gpu)


@dataclass(frozen=True)
class _Session:
    """What a run is executed by, and what it needs there."""

    executor: Executor
    needs: Needs
    tracking_uri: str


def _train_once(recorder: Recorder, session: _Session, run: Run, evaluate_test: bool) -> RunRecord:
    study, place = recorder.study, recorder.folder.run(run.key)
    former = place.record()
    recorder.phase("train", 1, [former])
    finished = former is not None and former.status == "complete"
    if finished and former is not None and (former.summary or not evaluate_test):
        return former
    check_storage(recorder.folder, run.key, study.base)
    with closing_on_error(recorder, _no_study):
        run = replace(run, splits=recorder.splits(run).serialize()) if finished else recorder.begin(run)
        try:
            _run(recorder, session, run, evaluate_test and not (former and former.summary))
        except (KeyboardInterrupt, InterruptedStudyError, StorageError):  # nothing is wrong with the run
            raise
        except BaseException as error:
            if not finished:  # what only evaluates the test split takes nothing back
                traceback = getattr(error, "worker_traceback", "")
                recorder.end(run.key, "failed", RunFailed(0, str(error), traceback=traceback))
            raise
    recorder.end(run.key, "complete")
    record = place.record()
    assert record is not None
    return record


def _no_study(status: Status) -> None:
    """No-op: a single run has no parent in a tracker."""


def _run(recorder: Recorder, session: _Session, run: Run, evaluate_test: bool) -> None:
    study = recorder.study
    job = job_of(recorder.folder, run, study.base, recorder.dataset, evaluate_test=evaluate_test)
    job = replace(job, best_by=(study.primary.metric, study.primary.direction))
    with session.executor.session(session.needs) as place:
        recorder.placed(place, session.tracking_uri)
        with closing(session.executor.run(job, study.budget)) as messages:
            for message in messages:
                check_interrupt()
                recorder.take(run.key, message)
