"""The command `tune`: a study from its first trial to its report."""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy.typing as npt

from supercm_ray.config import ClusterOptions, Config, Leaf, Study
from supercm_ray.data import Dataset
from supercm_ray.errors import StudyError, SuperCMError, TrackingError
from supercm_ray.execution.executor import Executor
from supercm_ray.execution.lifecycle import closing_on_error, driving
from supercm_ray.execution.phases import (
    check_planned,
    describe_data,
    has_work,
    read,
    reconcile_optuna,
    run_candidates,
    run_finalists,
    run_search,
)
from supercm_ray.execution.place import DEFAULT_CLUSTER, Needs
from supercm_ray.execution.recorder import Callback, NullCallback, Recorder
from supercm_ray.records import CheckpointStore, StudyFolder, this_machine, write_study
from supercm_ray.search import TUNED, Choice, Row, StudyView, load_plan, save_plan
from supercm_ray.tracking import BackgroundTracker, background, make_tracker, resend_command
from supercm_ray.training.preflight import load_checked
from supercm_ray.tuning.exporting import runs_frame
from supercm_ray.tuning.found_run import FoundRun
from supercm_ray.tuning.model import tracked_model
from supercm_ray.tuning.own_predictions import write_predictions
from supercm_ray.tuning.report import Report, build_report
from supercm_ray.tuning.report.text import markdown

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneResult:
    """The result of a tuned study.

    Attributes:
        rows: the table, mean and standard deviation over seeds for each group and arm.
        counts: number of trials by status.
        failed_finalists: the reason of each finalist, and of each candidate's seed, that failed, by key.
        folder: the study's folder.
        report: the report's text and files.
        predictions: the best finalist's predictions for the unlabeled training samples, a csv file; None if there is a
            test split.
        tracking_uri: address at which its runs are tracked; empty if it is not tracked, as are the two below.
        run_id: the tracker's id of the parent run.
        model_uri: the tracker's URI of the best model, chosen by validation.
        how_to_open: the commands or addresses that show the tracked runs, one a line.
        model_version: the version of the best model in the tracker's registry; empty if it is not registered.
        choices: for each group how much better validation was in the search than on fresh seeds and, if there are
            candidates, which of them was chosen.
    """

    study: Study
    rows: list[Row]
    counts: dict[str, int]
    failed_finalists: dict[str, str]
    folder: StudyFolder
    report: Report
    predictions: Path | None
    tracking_uri: str = field(repr=False)  # which may have credentials
    run_id: str
    model_uri: str
    how_to_open: str
    model_version: str = ""
    choices: list[Choice] = field(default_factory=list)

    @property
    def best_row(self) -> Row:
        """The row of tuned parameters whose mean over the fresh seeds is best by the study's first metric."""
        metric, sign = self.study.primary.metric, 1 if self.study.primary.direction == "maximize" else -1
        tuned = [row for row in self.rows if row.arm == TUNED]
        return max(tuned, key=lambda row: sign * row.metrics[metric][0])

    @property
    def best_params(self) -> dict[str, Leaf]:
        """The chosen parameters, by dotted path; of several groups those of `best_row`."""
        return dict(self.best_row.overrides)

    @property
    def best_value(self) -> float:
        """The study's first metric under the chosen parameters, its mean over the fresh seeds."""
        return self.best_row.metrics[self.study.primary.metric][0]

    def trials_dataframe(self) -> pd.DataFrame:
        """Returns the runs of the study as a table of pandas: the trials of the search, then candidates and finalists,
        with their status, seed, labels, varied parameters and last metrics.
        """
        order = ("trial", "candidate", "finalist")
        views = sorted(self.folder.views(), key=lambda view: (order.index(view.record.kind), view.record.key))
        return runs_frame(self.study, views)


def tune(
    study: Study,
    executor: Executor,
    *,
    results: Path,
    callback: Callback | None = None,
    plots: bool = True,
    cluster: ClusterOptions = DEFAULT_CLUSTER,
    register: str = "",
) -> TuneResult:
    """Searches a study's space, runs candidates and finalists, and reports (see `supercm_ray.tune`, which checks the
    study).
    """
    dataset = load_checked(study, all_seeds=True)
    folder = StudyFolder.open(results, study.name, study.identity())
    with driving(folder):
        check_storage(folder, "trials", study.base)
        write_study(folder.path, study)
        StudyView.read(study, folder)  # what is damaged is told before anything is started
        with background(make_tracker(study, folder), folder=folder) as tracker:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), tracker.sync)
            describe_data(recorder)
            with closing_on_error(recorder, tracker.close_study):
                run_id = tracker.open_study()
                view = read(recorder)
                if not has_work(view):
                    reconcile_optuna(view)
                    check_planned(view)
                    if load_plan(folder) is None:
                        save_plan(folder, view.planned)
                else:
                    needs = Needs.of(study, dataset, folder, cluster, recorder.nodes)
                    with executor.session(needs) as place, closing_on_error(recorder, tracker.close_study):
                        recorder.placed(place, tracker.uri)
                        run_search(recorder, executor)
                        run_candidates(recorder, executor)
                        run_finalists(recorder, executor)
                made = build_report(study, folder, plots=plots)
                predictions = write_predictions(folder, made.best_run, dataset)
                recorder.show(made.text)
                model_uri = _log_result(tracker, study, made, folder, dataset)
                version = tracker.register_model(model_uri, register) if model_uri and register else ""
                tracker.close_study("complete")
    counts = Counter(str(record.status) for record in folder.runs("trial"))
    on_fresh_seeds = (*folder.runs("candidate"), *folder.runs("finalist"))
    failed = {record.key: record.reason for record in on_fresh_seeds if record.status == "failed"}
    places = (tracker.uri, run_id, model_uri, tracker.how_to_open)
    return TuneResult(study, made.rows, dict(counts), failed, folder, made, predictions, *places, version, made.choices)


def report(study: Study, folder: StudyFolder) -> Report:
    """Writes a study's report from its records so far, and updates the tracker. If another process is running the
    study, that one updates the tracker, and only the report is sent.
    """
    made = build_report(study, folder)
    if made.rows and not (folder.path / "optuna.db").exists():
        logger.warning(
            "%s is missing; `supercm-ray tune` makes it anew from the records, if optuna-dashboard is to show it",
            folder.path / "optuna.db",
        )
    try:
        tracker = make_tracker(study, folder)
    except TrackingError as error:
        logger.warning("%s; the report is made, `%s` sends it", error, resend_command(folder))
        return made
    with (
        _alone(folder) as alone,
        background(tracker, catch_up=alone, folder=folder) as guarded,
    ):
        is_open = guarded.attach_study()
        _log_report(guarded, study, made, folder)
        if is_open and alone:
            guarded.close_study("interrupted" if made.best_run is None else "complete")
    return made


@contextmanager
def _alone(folder: StudyFolder) -> Iterator[bool]:
    """Returns whether no other process is running a study; none can start within the block."""
    with ExitStack() as held:
        try:
            held.enter_context(folder.lock())
        except StudyError:
            yield False
        else:
            yield True


def check_storage(folder: StudyFolder, key: str, config: Config) -> None:
    """Checks that checkpoints can be written, before anything is started.

    Raises:
        StorageError: if they cannot.
    """
    if config.training.storage_path is not None:
        CheckpointStore(folder.storage(key, config.training.storage_path)).check_writable()
    marker = folder.marker(config.training.storage_path, this_machine())
    if marker is not None:
        marker.write()


def _log_result(tracker: BackgroundTracker, study: Study, made: Report, folder: StudyFolder, dataset: Dataset) -> str:
    """Stores the report and the models of the finalists in the tracker, and returns the URI of the best."""
    _log_report(tracker, study, made, folder)
    return log_models(tracker, folder, made.best_run, dataset.images[:4])


def log_models(
    tracker: BackgroundTracker, folder: StudyFolder, best_run: str | None, images: npt.ArrayLike | None = None
) -> str:
    """Stores the model of each finalist that has ended, the best first, and returns the URI of the best; empty with a
    warning if its files are lost.
    """
    done = [record for record in folder.runs("finalist") if record.status == "complete"]
    uris = {
        record.key: log_model(tracker, FoundRun(folder, record), images, is_best=record.key == best_run)
        for record in sorted(done, key=lambda record: record.key != best_run)
    }
    return uris.get(best_run or "", "")


def log_model(
    tracker: BackgroundTracker, found: FoundRun, images: npt.ArrayLike | None, *, is_best: bool = False
) -> str:
    """Stores the model of a run in the tracker, and returns its URI; empty with a warning if its files are lost."""
    try:
        return tracker.log_model(tracked_model(found, images), is_best=is_best)
    except SuperCMError as error:
        logger.warning("the model of %s is not stored in the tracker: %s", found.name, error)
        return ""


def _log_report(tracker: BackgroundTracker, study: Study, made: Report, folder: StudyFolder) -> None:
    files = {made.html: "", made.table_json: "", folder.path / "study.yaml": ""}
    tracker.log_files({**files, **dict.fromkeys(made.plots, "plots")})
    log_table(tracker, study, made.rows, made.choices)


def log_table(tracker: BackgroundTracker, study: Study, rows: Sequence[Row], choices: Sequence[Choice]) -> None:
    """Stores the table in the tracker: its metrics as curves over the number of labels, and a note with what was found,
    once there is a row.
    """
    for num_labeled in sorted({row.num_labeled for row in rows}):
        tracker.log_metrics(
            dict(metric for row in rows if row.num_labeled == num_labeled for metric in _metrics(row, rows)),
            num_labeled,
        )
    if rows:
        tracker.log_note(markdown(study, rows, choices))


def _metrics(row: Row, rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    """Returns the metrics of a row of the table by name, such as `tuned/test_accuracy_mean`; with the group where
    several have the same number of labels.
    """
    is_alone = sum(one.arm == row.arm and one.num_labeled == row.num_labeled for one in rows) == 1
    group = "" if is_alone else "".join(f"/{value}" for value in row.group)
    for name, (mean, std) in row.metrics.items():
        place = f"{row.arm}/{name.replace('/', '_')}"
        yield f"{place}_mean{group}", mean
        yield f"{place}_std{group}", std
    if row.gains:
        yield f"gain_mean{group}", statistics.mean(row.gains)
