"""The verb `tune`: a study from its first trial to its report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from supercm_ray.config import Config, Study
from supercm_ray.data import Dataset
from supercm_ray.errors import StudyError
from supercm_ray.execution.executor import Executor
from supercm_ray.execution.interruption import interruptible
from supercm_ray.execution.lifecycle import closing_on_error
from supercm_ray.execution.phases import (
    describe_data,
    find_best,
    has_work,
    read,
    reconcile_optuna,
    run_finalists,
    run_search,
)
from supercm_ray.execution.recorder import Callback, NullCallback, Recorder
from supercm_ray.records import CheckpointStore, StudyFolder, write_atomically
from supercm_ray.search import Row
from supercm_ray.tracking import BackgroundTracker, background, make_tracker, tracker_names
from supercm_ray.training.preflight import load_checked
from supercm_ray.tuning.model import model_of
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
        tracking_uri: where its runs are tracked; empty for nowhere, as the two below.
        run_id: the tracker's parent run.
        model_uri: where the tracker has the best model, chosen by validation.
        how_to_open: the command or address that shows what is tracked, a line for each tracker.
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
    how_to_open: str


def tune(
    study: Study, executor: Executor, *, results: Path, callback: Callback | None = None, plots: bool = True
) -> TuneResult:
    """Searches a study's space, runs the finalists, and reports; see `supercm_ray.tune`."""
    if not study.space:
        raise StudyError(f"a study to tune must search something, got an empty `space` in {study.source}; use train")
    if study.base.training.device == "cuda" and not study.budget.gpus_per_worker:
        raise no_gpu(study)
    tracker_names(study)
    dataset = load_checked(study)
    folder = StudyFolder.open(results, study.name, study.identity())
    with folder.lock(), interruptible():
        check_storage(folder, "trials", study.base)
        write_atomically(folder.path / "study.yaml", yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        with background(make_tracker(study, folder)) as tracker:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), tracker.sync)
            describe_data(recorder)
            with closing_on_error(recorder, tracker.close_study):
                run_id = tracker.open_study()
                view = read(recorder)
                if not has_work(view):
                    reconcile_optuna(view)
                    find_best(view)
                else:
                    with executor.session(study.budget), closing_on_error(recorder, tracker.close_study):
                        run_search(recorder, executor)
                        run_finalists(recorder, executor)
                made = build_report(study, folder, plots=plots)
                model_uri = _log_result(tracker, made, study, folder, dataset)
                tracker.close_study("complete")
    counts = Counter(str(record.status) for record in folder.runs("trial"))
    failed = {record.key: record.reason for record in folder.runs("finalist") if record.status == "failed"}
    places = (tracker.uri, run_id, model_uri, tracker.how_to_open)
    return TuneResult(study, made.rows, dict(counts), failed, folder, made, *places)


def report(study: Study, folder: StudyFolder) -> Report:
    """Makes a study's report from what it has left so far, and has the tracker catch up with it. Where another process
    is at work on the study, that one keeps the tracker up to date, and only the report is sent.
    """
    tracker = make_tracker(study, folder)
    made = build_report(study, folder)
    with _alone(folder) as alone, background(tracker, catch_up=alone) as guarded:
        is_open = guarded.attach_study()
        _log_report(guarded, made, folder)
        if is_open and alone:
            guarded.close_study("interrupted" if made.best_run is None else "complete")
    return made


@contextmanager
def _alone(folder: StudyFolder) -> Iterator[bool]:
    """Whether no other process is at work on a study, and none can begin within the block."""
    with ExitStack() as held:
        try:
            held.enter_context(folder.lock())
        except StudyError:
            yield False
        else:
            yield True


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


def _log_result(tracker: BackgroundTracker, made: Report, study: Study, folder: StudyFolder, dataset: Dataset) -> str:
    """Has the tracker keep the report and the best model, whose address it returns."""
    _log_report(tracker, made, folder)
    record = folder.run(made.best_run).record() if made.best_run else None
    if record is None:
        return ""
    return tracker.log_model(model_of(study.base.replace(record.overrides), folder, record.key, dataset))


def _log_report(tracker: BackgroundTracker, made: Report, folder: StudyFolder) -> None:
    files = {made.html: "", made.table_json: "", folder.path / "study.yaml": ""}
    tracker.log_files({**files, **dict.fromkeys(made.plots, "plots")})
    tracker.log_metrics(dict(metric for row in made.rows for metric in _metrics(row)))


def _metrics(row: Row) -> Iterator[tuple[str, float]]:
    """A row of the table as metrics by name, such as `tuned/test_accuracy_mean/0.01`."""
    group = "".join(f"/{value}" for value in row.group)
    for name, (mean, std) in {"val_accuracy": row.val_accuracy, "test_accuracy": row.test_accuracy}.items():
        yield f"{row.arm}/{name}_mean{group}", mean
        yield f"{row.arm}/{name}_std{group}", std
    if row.gains:
        yield f"gain_mean{group}", statistics.mean(row.gains)
