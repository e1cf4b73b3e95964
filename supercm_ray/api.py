"""The verbs: what the command line does, as functions that return what they found."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from supercm_ray.checks import load_checked
from supercm_ray.config import Config
from supercm_ray.data import Dataset
from supercm_ray.errors import InterruptedStudyError, StudyError
from supercm_ray.finalists import Row
from supercm_ray.models import Predictor
from supercm_ray.records import RunRecord, StudyFolder, write_atomically
from supercm_ray.report import Report, build_report
from supercm_ray.runtime import Listener, Recorder, Run, Silent, check_interrupt, interruptible, ray_session, tuning
from supercm_ray.study import Study
from supercm_ray.study_file import load_study
from supercm_ray.tracking import BackgroundTracker, Tracker, background, log_model, tracking_uri
from supercm_ray.training import choose_device, load_checkpoint

__all__ = ["Report", "TrainResult", "TuneResult", "load_study", "report", "train", "tune"]

DEFAULT_RESULTS = Path("results")
_MODEL_TAG = "supercm.model_uri"


@dataclass(frozen=True)
class TuneResult:
    """What a study came to.

    Attributes:
        rows: the table, mean and standard deviation over seeds for each factor level and arm.
        counts: trials by status.
        failed_finalists: the reason of each finalist that came to no result.
        folder: the study's folder.
        report: the page and what is on it.
        mlflow_run_id: the parent run.
        model_uri: where MLflow has the best model, chosen by validation.
    """

    study: Study
    rows: list[Row]
    counts: dict[str, int]
    failed_finalists: dict[str, str]
    folder: StudyFolder
    report: Report
    mlflow_uri: str
    mlflow_run_id: str
    model_uri: str


@dataclass(frozen=True)
class TrainResult:
    """What a single run came to: the metrics of its last epoch, those of the test split if it was opened, its
    checkpoint and its MLflow run.
    """

    metrics: dict[str, float]
    checkpoint: Path
    mlflow_uri: str
    mlflow_run_id: str
    model_uri: str


def tune(study: Study, *, results: Path = DEFAULT_RESULTS, listener: Listener | None = None) -> TuneResult:
    """Searches a study's space, runs the finalists, and reports; resumes what was begun before.

    Args:
        study: what `load_study` returned.
        results: the folder in which the study has its own, named after it.
        listener: told of progress.

    Raises:
        StudyError: for anything wrong with the study or its data, before Ray is started.
        SuperCMError: where no trial came to a usable end.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes.
    """
    if not study.space:
        raise StudyError(f"a study to tune must search something, got an empty `space` in {study.source}; use train")
    dataset = load_checked(study)
    folder = StudyFolder.open(results, study.name, study.identity())
    with folder.lock(), interruptible():
        write_atomically(folder.path / "study.yaml", yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        tracker = Tracker(study, folder)
        with background(tracker) as writer:
            recorder = Recorder(study, folder, dataset, listener or Silent(), writer.mirror)
            with _closing_on_error(recorder, tracker, writer):
                parent_id = tracker.open_parent()
                _run_all(recorder, tracker, writer)
                writer.flush()
                made = build_report(study, folder)
                model_uri = _log_outcome(tracker, made, study, folder, dataset)
                tracker.end_parent("complete")
    counts = Counter(str(record.status) for record in folder.runs("trial"))
    failed = {record.key: record.reason for record in folder.runs("finalist") if record.status == "failed"}
    return TuneResult(study, made.rows, dict(counts), failed, folder, made, tracking_uri(), parent_id, model_uri)


def train(
    study: Study, *, results: Path = DEFAULT_RESULTS, open_test: bool = False, listener: Listener | None = None
) -> TrainResult:
    """Runs a study's base configuration once, in this process; resumes from its checkpoint.

    Args:
        study: what `load_study` returned.
        results: the folder in which the run has its own, named after the study and its configuration.
        open_test: whether the finished run reads the test split. Who compares runs leaves it closed.
        listener: told of progress.

    Raises:
        StudyError: for anything wrong with the study or its data.
        DivergedError: where the loss is no longer a number.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes.
    """
    dataset = load_checked(study)
    folder = StudyFolder.open(results / "train", f"{study.name}-{study.identity()[:8]}", study.identity())
    key = f"train/{study.name}"
    with folder.lock(), interruptible():
        tracker = Tracker(study, folder)
        with background(tracker) as writer:
            recorder = Recorder(study, folder, dataset, listener or Silent(), writer.mirror)
            run, record = _train_here(recorder, key, open_test)
        run_id = tracker.child_id(key)
        model_uri = tracker.tag(run_id, _MODEL_TAG) or _log_model(tracker, run_id, run.config, folder, key, dataset)
        metrics = {**folder.run(key).history()[-1], **record.summary}
    return TrainResult(metrics, run.folder.checkpoint, tracking_uri(), run_id, model_uri)


def report(study: str | Path, *, results: Path = DEFAULT_RESULTS) -> Report:
    """Makes a study's table, page and figures from what it has left so far, and logs them to MLflow.

    Args:
        study: a study file, or the name of a study in `results`.
        results: where the studies are.

    Raises:
        StudyError: where there is no such study.
    """
    path = Path(study)
    name = load_study(path).name if path.suffix in (".yaml", ".yml") else str(study)
    folder = StudyFolder.existing(results / name)
    loaded = load_study(folder.path / "study.yaml")
    made = build_report(loaded, folder)
    tracker = Tracker(loaded, folder)
    if tracker.find_parent():
        tracker.mirror_all()
        tracker.end_parent("interrupted" if made.best_run is None else "complete")
    _log_report(tracker, made, folder)
    return made


def _run_all(recorder: Recorder, tracker: Tracker, writer: BackgroundTracker) -> None:
    study, folder = recorder.study, recorder.folder
    if not tuning.has_work(study, folder):
        tuning.settle(recorder)
        return
    writer.flush()
    with ray_session(), _closing_on_error(recorder, tracker, writer):
        tuning.run_search(recorder)
        tuning.run_finalists(recorder, tuning.chosen(study, folder))


@contextmanager
def _closing_on_error(recorder: Recorder, tracker: Tracker, writer: BackgroundTracker) -> Iterator[None]:
    """Leaves no run open when the block is left by an error, before anything else is taken down."""
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | InterruptedStudyError)
        recorder.interrupt()
        writer.call(lambda: tracker.end_parent("interrupted" if interrupted else "failed"))
        writer.flush()
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedStudyError(f"{recorder.study.name} was interrupted; the same command resumes it") from None
        raise


def _train_here(recorder: Recorder, key: str, open_test: bool) -> tuple[Run, RunRecord]:
    former = recorder.folder.run(key).record()
    recorder.phase("train", 1, [former])
    if former is None or former.status != "complete":
        recorder.begin(key, "train", {}, {})
    run = Run(recorder.folder.run(key), recorder.study.base, recorder.dataset)
    try:
        for metrics in run:
            check_interrupt()
            recorder.epoch(key, metrics)
        summary = dict(former.summary) if former else {}
        if open_test and not summary:
            summary = run.open_test()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            recorder.interrupt()
            raise InterruptedStudyError(f"{recorder.study.name} was interrupted; the same command resumes it") from None
        recorder.end(key, "failed", str(error))
        raise
    recorder.end(key, "complete", summary=summary)
    record = recorder.folder.run(key).record()
    assert record is not None
    return run, record


def _log_outcome(tracker: Tracker, made: Report, study: Study, folder: StudyFolder, dataset: Dataset) -> str:
    _log_report(tracker, made, folder)
    assert tracker.parent_id is not None
    if made.best_run is None:
        return ""
    known = tracker.tag(tracker.parent_id, _MODEL_TAG)
    if known and tracker.tag(tracker.parent_id, "supercm.best_run") == made.best_run:
        return known
    record = folder.run(made.best_run).record()
    assert record is not None
    config = study.base.replace(record.assignments)
    uri = _log_model(tracker, tracker.parent_id, config, folder, made.best_run, dataset)
    tracker.set_tag(tracker.parent_id, "supercm.best_run", made.best_run)
    return uri


def _log_report(tracker: Tracker, made: Report, folder: StudyFolder) -> None:
    artifacts = {made.html: "", made.table_json: "", folder.path / "study.yaml": ""}
    tracker.log_artifacts({**artifacts, **dict.fromkeys(made.figures, "figures")})
    tracker.log_figures(dict(figure for row in made.rows for figure in _figures(row)))


def _figures(row: Row) -> Iterator[tuple[str, float]]:
    """A row of the table as figures by name, such as `tuned/test_accuracy_mean/0.01`."""
    level = "".join(f"/{value}" for value in row.level)
    for name, (mean, std) in {"val_accuracy": row.val_accuracy, "test_accuracy": row.test_accuracy}.items():
        yield f"{row.arm}/{name}_mean{level}", mean
        yield f"{row.arm}/{name}_std{level}", std
    if row.gains:
        yield f"gain_mean{level}", statistics.mean(row.gains)


def _log_model(tracker: Tracker, run_id: str, config: Config, folder: StudyFolder, key: str, dataset: Dataset) -> str:
    state = load_checkpoint(folder.run(key).checkpoint, config, dataset, choose_device("cpu"))
    example = (dataset.images[:4] / 255.0).astype(np.float32)
    uri = log_model(run_id, Predictor(state.average), example, f"{folder.path.name}-model")
    tracker.set_tag(run_id, _MODEL_TAG, uri)
    return uri
