"""The verb `tune`: a study from its first trial to its report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from supercm_ray.config import Config, Study
from supercm_ray.data import Dataset
from supercm_ray.errors import StudyError
from supercm_ray.execution.executor import Executor
from supercm_ray.execution.interruption import interruptible
from supercm_ray.execution.lifecycle import closing_on_error
from supercm_ray.execution.phases import describe_data, has_work, read, reconcile_optuna, run_finalists, run_search
from supercm_ray.execution.recorder import Callback, NullCallback, Recorder
from supercm_ray.records import CheckpointStore, Status, StudyFolder, write_atomically
from supercm_ray.search import Row
from supercm_ray.tracking import BackgroundTracker, Tracker, background, tracking_uri
from supercm_ray.training.preflight import load_checked
from supercm_ray.tuning.model import MODEL_TAG, log_model_of
from supercm_ray.tuning.report import Report, build_report


@dataclass(frozen=True)
class TuneResult:
    """What a study came to.

    Attributes:
        rows: the table, mean and standard deviation over seeds for each group and arm.
        counts: trials by status.
        failed_finalists: the reason of each finalist that came to no result.
        folder: the study's folder.
        report: the page and what is on it.
        tracking_uri: where its runs are tracked.
        run_id: the tracker's parent run.
        model_uri: where the tracker has the best model, chosen by validation.
    """

    study: Study
    rows: list[Row]
    counts: dict[str, int]
    failed_finalists: dict[str, str]
    folder: StudyFolder
    report: Report
    tracking_uri: str
    run_id: str
    model_uri: str


def tune(
    study: Study, executor: Executor, *, results: Path, callback: Callback | None = None, plots: bool = True
) -> TuneResult:
    """Searches a study's space, runs the finalists, and reports; see `supercm_ray.tune`."""
    if not study.space:
        raise StudyError(f"a study to tune must search something, got an empty `space` in {study.source}; use train")
    if study.base.training.device == "cuda" and not study.budget.gpus_per_worker:
        raise no_gpu(study)
    dataset = load_checked(study)
    folder = StudyFolder.open(results, study.name, study.identity())
    with folder.lock(), interruptible():
        check_storage(folder, "trials", study.base)
        write_atomically(folder.path / "study.yaml", yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        tracker = Tracker(study, folder)
        with background(tracker) as writer:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), writer.sync)
            describe_data(recorder)

            def on_end(status: Status) -> None:
                _close(tracker, writer, status)

            with closing_on_error(recorder, on_end):
                parent_id = tracker.open_parent()
                view = read(recorder)
                if not has_work(view):
                    reconcile_optuna(view)
                else:
                    writer.flush()
                    with executor.session(study.budget), closing_on_error(recorder, on_end):
                        run_search(recorder, executor)
                        run_finalists(recorder, executor)
                writer.flush()
                made = build_report(study, folder, plots=plots)
                model_uri = _log_result(tracker, made, study, folder, dataset)
                tracker.end_parent("complete")
    counts = Counter(str(record.status) for record in folder.runs("trial"))
    failed = {record.key: record.reason for record in folder.runs("finalist") if record.status == "failed"}
    return TuneResult(study, made.rows, dict(counts), failed, folder, made, tracking_uri(), parent_id, model_uri)


def report(study: Study, folder: StudyFolder) -> Report:
    """Makes a study's report from what it has left so far, and logs it to the tracker."""
    made = build_report(study, folder)
    tracker = Tracker(study, folder)
    if tracker.find_parent():
        tracker.sync_all()
        tracker.end_parent("interrupted" if made.best_run is None else "complete")
    _log_report(tracker, made, folder)
    return made


def no_gpu(study: Study) -> StudyError:
    """The error of a study that wants a GPU for its workers and gives them none."""
    return StudyError(
        "each worker must be given a GPU, budget.gpus_per_worker above 0, for base.training.device=cuda in "
        f"{study.source}, got 0; set it, or take `auto`"
    )


def check_storage(folder: StudyFolder, key: str, config: Config) -> None:
    """Sees that checkpoints can be written, before anything is started.

    Raises:
        StorageError: where not.
    """
    if config.training.storage_path is not None:
        CheckpointStore(folder.storage(key, config.training.storage_path)).check_writable()


def _close(tracker: Tracker, writer: BackgroundTracker, status: Status) -> None:
    writer.call(lambda: tracker.end_parent(status))
    writer.flush()


def _log_result(tracker: Tracker, made: Report, study: Study, folder: StudyFolder, dataset: Dataset) -> str:
    _log_report(tracker, made, folder)
    assert tracker.parent_id is not None
    if made.best_run is None:
        return ""
    known = tracker.tag(tracker.parent_id, MODEL_TAG)
    if known and tracker.tag(tracker.parent_id, "supercm.best_run") == made.best_run:
        return known
    record = folder.run(made.best_run).record()
    assert record is not None
    config = study.base.replace(record.overrides)
    uri = log_model_of(tracker, tracker.parent_id, config, folder, made.best_run, dataset)
    tracker.set_tag(tracker.parent_id, "supercm.best_run", made.best_run)
    return uri


def _log_report(tracker: Tracker, made: Report, folder: StudyFolder) -> None:
    artifacts = {made.html: "", made.table_json: "", folder.path / "study.yaml": ""}
    tracker.log_artifacts({**artifacts, **dict.fromkeys(made.plots, "plots")})
    tracker.log_metrics(dict(metric for row in made.rows for metric in _metrics(row)))


def _metrics(row: Row) -> Iterator[tuple[str, float]]:
    """A row of the table as metrics by name, such as `tuned/test_accuracy_mean/0.01`."""
    group = "".join(f"/{value}" for value in row.group)
    for name, (mean, std) in {"val_accuracy": row.val_accuracy, "test_accuracy": row.test_accuracy}.items():
        yield f"{row.arm}/{name}_mean{group}", mean
        yield f"{row.arm}/{name}_std{group}", std
    if row.gains:
        yield f"gain_mean{group}", statistics.mean(row.gains)
