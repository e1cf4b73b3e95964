"""The verbs: what the command line does, as functions that return what they found."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from supercm_ray.comparison import compare_studies
from supercm_ray.config import Budget, Config, ScalingConfig, Study, load_study, on_workers
from supercm_ray.data import Dataset, as_floats
from supercm_ray.errors import InterruptedStudyError, StorageError, StudyError
from supercm_ray.execution.interruption import check_interrupt, interruptible
from supercm_ray.execution.lifecycle import closing_on_error
from supercm_ray.execution.recorder import Callback, NullCallback, Recorder
from supercm_ray.models import Predictor
from supercm_ray.records import LAST, CheckpointStore, RunRecord, StudyFolder, write_atomically
from supercm_ray.runtime import job_of, ray_session, record_predictions, run_job, tune_run
from supercm_ray.scaling.scale import ScaleResult
from supercm_ray.scaling.scale import scale as _scale
from supercm_ray.search.finalists import Row
from supercm_ray.tracking import BackgroundTracker, Tracker, background, log_model, tracking_uri
from supercm_ray.training import deserialize_ema_model
from supercm_ray.training.preflight import load_checked
from supercm_ray.tuning.report import Report, build_report

__all__ = [
    "Report",
    "ScaleResult",
    "ScalingConfig",
    "TrainResult",
    "TuneResult",
    "compare",
    "load_study",
    "report",
    "scale",
    "train",
    "tune",
]

DEFAULT_RESULTS = Path("results")
_MODEL_TAG = "supercm.model_uri"


@dataclass(frozen=True)
class TuneResult:
    """What a study came to.

    Attributes:
        rows: the table, mean and standard deviation over seeds for each group and arm.
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
    checkpoint: str
    mlflow_uri: str
    mlflow_run_id: str
    model_uri: str


def tune(
    study: Study, *, results: Path = DEFAULT_RESULTS, callback: Callback | None = None, figures: bool = True
) -> TuneResult:
    """Searches a study's space, runs the finalists, and reports; resumes what was begun before.

    Args:
        study: what `load_study` returned.
        results: the folder in which the study has its own, named after it.
        callback: told of progress.
        figures: whether the report has its figures, which take seconds to draw; `report` can draw them later.

    Raises:
        StudyError: for anything wrong with the study or its data, before Ray is started.
        StorageError: where checkpoints cannot be written.
        SuperCMError: where no trial came to a usable end.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes.
    """
    if not study.space:
        raise StudyError(f"a study to tune must search something, got an empty `space` in {study.source}; use train")
    if study.base.training.device == "cuda" and not study.budget.gpus_per_worker:
        raise _no_gpu(study)
    dataset = load_checked(study)
    folder = StudyFolder.open(results, study.name, study.identity())
    with folder.lock(), interruptible():
        _check_storage(folder, "trials", study.base)
        write_atomically(folder.path / "study.yaml", yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        tracker = Tracker(study, folder)
        with background(tracker) as writer:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), writer.sync)
            with closing_on_error(recorder, tracker, writer):
                parent_id = tracker.open_parent()
                _run_all(recorder, tracker, writer)
                writer.flush()
                made = build_report(study, folder, figures=figures)
                model_uri = _log_outcome(tracker, made, study, folder, dataset)
                tracker.end_parent("complete")
    counts = Counter(str(record.status) for record in folder.runs("trial"))
    failed = {record.key: record.reason for record in folder.runs("finalist") if record.status == "failed"}
    return TuneResult(study, made.rows, dict(counts), failed, folder, made, tracking_uri(), parent_id, model_uri)


def train(
    study: Study | Config,
    *,
    num_workers: int | tuple[int, int] | None = None,
    use_gpu: bool = False,
    results: Path = DEFAULT_RESULTS,
    evaluate_test: bool = False,
    callback: Callback | None = None,
) -> TrainResult:
    """Runs a base configuration once, in this process or on several workers; resumes from its checkpoint.

    Args:
        study: what `load_study` returned, or a configuration alone.
        num_workers: workers of Ray Train that share every batch, or the least and the most of an elastic group; None
            for what the study's budget says. A single worker is this process, and Ray is not started.
        use_gpu: whether each worker must have a GPU. Without it the study says.
        results: the folder in which the run has its own, named after the study and its configuration.
        evaluate_test: whether the finished run reads the test split. Who compares runs leaves it closed.
        callback: told of progress.

    Raises:
        StudyError: for anything wrong with the study, its data, or the resources for its workers.
        CheckpointError: for a checkpoint that cannot be used.
        StorageError: where checkpoints cannot be read or written.
        DivergedError: where the loss is no longer a number.
        WorkersError: where the workers failed again and again.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes.
    """
    study = _placed(study, num_workers, use_gpu)
    dataset = load_checked(study)
    folder = StudyFolder.open(results / "train", f"{study.name}-{study.identity()[:8]}", study.identity())
    key = f"train/{study.name}"
    with folder.lock(), interruptible():
        tracker = Tracker(study, folder)
        with background(tracker) as writer:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), writer.sync)
            record = _train_once(recorder, key, evaluate_test)
        run_id = tracker.child_id(key)
        model_uri = tracker.tag(run_id, _MODEL_TAG) or _log_model(tracker, run_id, study.base, folder, key, dataset)
        metrics = {**folder.run(key).history()[-1], **record.summary}
    checkpoint = f"{folder.storage(key, study.base.training.storage_path)}/{LAST}"
    return TrainResult(metrics, checkpoint, tracking_uri(), run_id, model_uri)


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
        tracker.sync_all()
        tracker.end_parent("interrupted" if made.best_run is None else "complete")
    _log_report(tracker, made, folder)
    return made


def scale(
    study: Study,
    scaling: ScalingConfig | None = None,
    *,
    results: Path = DEFAULT_RESULTS,
    callback: Callback | None = None,
    plots: bool = True,
    command: str = "",
) -> ScaleResult:
    """Measures how a study's training scales with workers and its tuning with concurrent trials, and reports.

    Args:
        study: what `load_study` returned.
        scaling: what to measure, instead of the study's own `scaling` section.
        results: the folder in which the scaling study has its own, below `scale`.
        callback: told of progress.
        plots: whether to draw the report's plots.
        command: the command line, for the record.

    Raises:
        StudyError: for anything wrong with the study or the section, or a setting that does not fit the cluster.
        WorkersError: where workers failed again and again.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes, and measures nothing twice.
    """
    return _scale(study, scaling, results=results, callback=callback, plots=plots, command=command)


def compare(first: str | Path, second: str | Path, *, results: Path = DEFAULT_RESULTS) -> str:
    """Two scaling studies, or two tuned studies, side by side, as text.

    Args:
        first: a scaling study's measurements.json or its folder, or the folder of a tuned study or its name in
            `results`.
        second: likewise, of the same kind.
        results: where tuned studies are.

    Raises:
        StudyError: where one of them is neither, or they are of different kinds.
    """
    return compare_studies(str(first), str(second), results=results)


def _run_all(recorder: Recorder, tracker: Tracker, writer: BackgroundTracker) -> None:
    study, folder = recorder.study, recorder.folder
    if not tune_run.has_work(study, folder):
        tune_run.reconcile(recorder)
        return
    writer.flush()
    with ray_session(), closing_on_error(recorder, tracker, writer):
        tune_run.run_search(recorder)
        tune_run.run_finalists(recorder, tune_run.chosen(study, folder))


def _placed(study: Study | Config, num_workers: int | tuple[int, int] | None, use_gpu: bool) -> Study:
    """The study with the workers and GPUs that a caller wants.

    Raises:
        StudyError: where the study's batches cannot be shared by so many, or this process is to be the worker on a GPU
            and has none.
    """
    study = Study(name="config", base=study) if isinstance(study, Config) else study
    study = on_workers(study, num_workers, use_gpu)
    alone = study.budget.worker_range == (1, 1)
    if alone and study.base.training.device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            f"a GPU must be visible to this process for training.device=cuda in {study.source}, got none; take `auto`"
        )
    if not alone and study.base.training.device == "cuda" and not study.budget.gpus_per_worker:
        raise _no_gpu(study)
    return study


def _no_gpu(study: Study) -> StudyError:
    return StudyError(
        "each worker must be given a GPU, budget.gpus_per_worker above 0, for base.training.device=cuda in "
        f"{study.source}, got 0; set it, or take `auto`"
    )


def _check_storage(folder: StudyFolder, key: str, config: Config) -> None:
    """Sees that checkpoints can be written, before anything is started.

    Raises:
        StorageError: where not.
    """
    if config.training.storage_path is not None:
        CheckpointStore(folder.storage(key, config.training.storage_path)).check_writable()


def _workers(budget: Budget) -> AbstractContextManager[None]:
    return nullcontext() if budget.worker_range == (1, 1) else ray_session()


def _train_once(recorder: Recorder, key: str, evaluate_test: bool) -> RunRecord:
    study, run = recorder.study, recorder.folder.run(key)
    former = run.record()
    recorder.phase("train", 1, [former])
    if former is not None and former.status == "complete" and (former.summary or not evaluate_test):
        return former
    finished = former is not None and former.status == "complete"
    _check_storage(recorder.folder, key, study.base)
    if not finished:
        recorder.begin(key, "train", {}, {})
    summary = dict(former.summary) if former else {}
    job = job_of(
        recorder.folder,
        key,
        study.base,
        recorder.dataset,
        evaluate_test=evaluate_test and not summary,
        best_by=(study.primary.metric, study.primary.direction),
    )
    try:
        with _workers(study.budget), closing(run_job(job, study.budget, run)) as messages:
            for message in messages:
                check_interrupt()
                record_predictions(message, run)
                summary |= {name: message.pop(name) for name in list(message) if name.startswith("test/")}
                recorder.epoch(key, message)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            recorder.interrupt()
            raise InterruptedStudyError(f"{study.name} was interrupted; the same command resumes it") from None
        if not finished:  # what only opens the test split takes nothing back
            recorder.end(key, "failed", str(error))
        raise
    recorder.end(key, "complete", summary=summary)
    record = run.record()
    assert record is not None
    return record


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
    config = study.base.replace(record.overrides)
    uri = _log_model(tracker, tracker.parent_id, config, folder, made.best_run, dataset)
    tracker.set_tag(tracker.parent_id, "supercm.best_run", made.best_run)
    return uri


def _log_report(tracker: Tracker, made: Report, folder: StudyFolder) -> None:
    artifacts = {made.html: "", made.table_json: "", folder.path / "study.yaml": ""}
    tracker.log_artifacts({**artifacts, **dict.fromkeys(made.figures, "figures")})
    tracker.log_metrics(dict(figure for row in made.rows for figure in _figures(row)))


def _figures(row: Row) -> Iterator[tuple[str, float]]:
    """A row of the table as figures by name, such as `tuned/test_accuracy_mean/0.01`."""
    group = "".join(f"/{value}" for value in row.group)
    for name, (mean, std) in {"val_accuracy": row.val_accuracy, "test_accuracy": row.test_accuracy}.items():
        yield f"{row.arm}/{name}_mean{group}", mean
        yield f"{row.arm}/{name}_std{group}", std
    if row.gains:
        yield f"gain_mean{group}", statistics.mean(row.gains)


def _log_model(tracker: Tracker, run_id: str, config: Config, folder: StudyFolder, key: str, dataset: Dataset) -> str:
    storage = folder.storage(key, config.training.storage_path)
    content = CheckpointStore(storage).read()
    if content is None:
        raise StorageError(
            f"the last checkpoint of {key} must be readable from here, got nothing in {storage}; take a "
            "training.storage_path that all processes share"
        )
    ema_model = deserialize_ema_model(content, storage, config, dataset)
    example = as_floats(torch.as_tensor(dataset.images[:4])).numpy()
    uri = log_model(run_id, Predictor(ema_model), example, f"{folder.path.name}-model")
    tracker.set_tag(run_id, _MODEL_TAG, uri)
    return uri
