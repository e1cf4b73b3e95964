"""The two phases of a study on any executor: the search, then the finalists."""

from __future__ import annotations

import logging

import numpy as np

from supercm_ray.data import UNLABELED, Dataset, Splits, split_dataset
from supercm_ray.errors import DamagedError, StudyError, SuperCMError
from supercm_ray.execution.executor import Executor, Phase
from supercm_ray.execution.queues import FinalistQueue, TrialQueue
from supercm_ray.execution.recorder import Recorder
from supercm_ray.execution.retries import RetryingQueue
from supercm_ray.execution.stopping import SCHEDULERS
from supercm_ray.records import DataSummary
from supercm_ray.search import OptunaStore, StudyView, TrialSource, save_plan

logger = logging.getLogger(__name__)


def read(recorder: Recorder) -> StudyView:
    """Reads the study's results so far."""
    return StudyView.read(recorder.study, recorder.folder)


def has_work(view: StudyView) -> bool:
    """Returns whether any run is left."""
    ended = [trial for trial in view.trials if trial.record.status not in ("running", "interrupted")]
    return len(ended) < view.study.budget.num_trials or len(ended) < len(view.trials) or bool(view.open_finalists)


def reconcile_optuna(view: StudyView) -> None:
    """Makes Optuna's storage agree with the records if no run is left."""
    OptunaStore(view.study, view.folder).reconcile(view.trials)


def check_planned(view: StudyView) -> None:
    """Checks that the trials lead to finalists.

    Raises:
        SuperCMError: if no trial has used its full budget.
    """
    if not view.planned:
        reasons = sorted({trial.record.reason for trial in view.trials if trial.record.status == "failed"})
        raise SuperCMError(
            f"no trial of {view.study.name} came to its end with a usable result; "
            + ("; ".join(reasons[:3]) or "none has run")
        )


def describe_data(recorder: Recorder) -> None:
    """Stores what readers need to know of the data set, such as class names, so that they need not load it.

    Raises:
        StudyError: if the data are not those that the study was begun with.
    """
    folder, dataset = recorder.folder, recorder.dataset
    summary = summarise(dataset, split_dataset(dataset, recorder.study.base))
    try:
        former = folder.data_summary()
    except DamagedError as error:
        logger.warning("%s; it is written anew", error)
        former = summary
    if former.fingerprint not in ("", summary.fingerprint):
        raise StudyError(
            f"the data must be those that {folder.path} was begun with, got others: {_counted(former)} then, "
            f"{_counted(summary)} now; put the former files back, or give the study another `name`"
        )
    folder.write("data.json", summary.to_json())


def summarise(dataset: Dataset, splits: Splits) -> DataSummary:
    """Returns the description of a data set under these splits."""
    known = dataset.labels != UNLABELED
    target = splits.unlabeled if dataset.target_indices is not None else splits.unlabeled[:0]
    return DataSummary(
        class_names=dataset.class_names,
        counts=splits.counts,
        val_class_counts=tuple(np.bincount(dataset.labels[splits.val], minlength=dataset.num_classes).tolist()),
        num_unknown=int((~known).sum()),
        num_oracle=int(known[np.setdiff1d(target, splits.test)].sum()),
        notes=dataset.notes,
        fingerprint=dataset.fingerprint,
        samples_digest=dataset.samples_digest,
    )


def _counted(summary: DataSummary) -> str:
    return f"{sum(summary.counts.values())} samples of {len(summary.class_names)} classes"


def run_search(recorder: Recorder, executor: Executor) -> None:
    """Runs the remaining trials of the study. They get the data with the test split masked."""
    study, view = recorder.study, read(recorder)
    rule = SCHEDULERS.find(study.scheduler.name).make(study)
    rule.replay(view.trials)
    source = TrialSource(study, recorder.folder, view.trials)
    queue = TrialQueue(recorder, source, rule)
    recorder.phase("search", study.budget.num_trials, [trial.record for trial in view.trials])
    if queue.num_left:
        splits = split_dataset(recorder.dataset, study.base)
        data = recorder.dataset.mask_test_split(splits.test, trained=splits.unlabeled)
        phase = Phase("search", study, recorder.folder, data, evaluate_test=False)
        executor.run_all(phase, RetryingQueue(queue, study.budget.max_failures))
    recorder.clear_trials()


def run_finalists(recorder: Recorder, executor: Executor) -> None:
    """Plans the finalists from the trials, stores the plan, and runs those that have not ended. Each reads the test
    split, if there is one, once, after its last epoch.

    Raises:
        SuperCMError: if no trial has used its full budget.
    """
    study, view = recorder.study, read(recorder)
    check_planned(view)
    save_plan(recorder.folder, view.planned)
    known = [view.runs[one.key].record for one in view.planned if one.key in view.runs]
    recorder.phase("finalists", len(view.planned), known)
    left = view.open_finalists
    if left:
        phase = Phase("finalists", study, recorder.folder, recorder.dataset, evaluate_test=True)
        executor.run_all(phase, RetryingQueue(FinalistQueue(recorder, left), study.budget.max_failures))
