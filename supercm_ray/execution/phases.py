"""The phases of a study on any executor: the search, then its candidates if it has several, then the finalists."""

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
from supercm_ray.search import OptunaStore, StudyView, TrialSource, config_digest, save_plan

logger = logging.getLogger(__name__)


def read(recorder: Recorder) -> StudyView:
    """Reads the study's results so far."""
    return StudyView.read(recorder.study, recorder.folder)


def has_work(view: StudyView) -> bool:
    """Returns whether any run is left."""
    ended = [trial for trial in view.trials if trial.record.status not in ("running", "interrupted")]
    is_searched = len(ended) >= view.study.budget.num_trials and len(ended) == len(view.trials)
    return not is_searched or bool(view.open_candidates or view.open_finalists)


def reconcile_optuna(view: StudyView) -> None:
    """Makes Optuna's storage agree with the records if no run is left."""
    OptunaStore(view.study, view.folder).reconcile(view.trials)


def check_planned(view: StudyView) -> None:
    """Checks that the trials, and the candidates if there are any, lead to finalists.

    Raises:
        SuperCMError: if no trial has used its full budget, or no group has a choice among its candidates.
    """
    if not view.planned:
        what, runs = ("candidate", view.candidate_runs) if view.candidates else ("trial", view.trials)
        reasons = sorted({run.record.reason for run in runs if run.record.status == "failed"})
        raise SuperCMError(
            f"no {what} of {view.study.name} came to its end with a usable result; "
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
        phase = Phase("search", study, recorder.folder, _without_test(recorder), evaluate_test=False)
        executor.run_all(phase, RetryingQueue(queue, study.budget.max_failures))
    recorder.clear("trial")


def _without_test(recorder: Recorder) -> Dataset:
    """Returns the data with the test split masked, which all trials and seeds of the study share."""
    splits = split_dataset(recorder.dataset, recorder.study.base)
    return recorder.dataset.mask_test_split(splits.test, trained=splits.unlabeled)


def run_candidates(recorder: Recorder, executor: Executor) -> None:
    """Plans the candidates from the trials, if the study has several, and runs those that have not ended. They get the
    data with the test split masked.
    """
    view = read(recorder)
    if not view.candidates:
        return
    total = sum(len(candidate.runs) for candidate in view.candidates)
    recorder.phase("candidates", total, [run.record for run in view.candidate_runs])
    left = view.open_candidates
    if left:
        data, study = _without_test(recorder), recorder.study
        phase = Phase("candidates", study, recorder.folder, data, evaluate_test=False)
        queue = FinalistQueue(recorder, left, kind="candidate")
        executor.run_all(phase, RetryingQueue(queue, study.budget.max_failures))


def run_finalists(recorder: Recorder, executor: Executor) -> None:
    """Plans the finalists from the trials and candidates, stores the plan, and runs those that have not ended. Each
    reads the test split, if there is one, once, after its last epoch; one that a candidate has trained is not trained
    again.

    Raises:
        SuperCMError: if no trial has used its full budget, or no group has a choice among its candidates.
    """
    study, view = recorder.study, read(recorder)
    check_planned(view)
    save_plan(recorder.folder, view.planned)
    known = [view.runs[one.key].record for one in view.planned if one.key in view.runs]
    recorder.phase("finalists", len(view.planned), known)
    left = view.open_finalists
    if left:
        phase = Phase("finalists", study, recorder.folder, recorder.dataset, evaluate_test=True)
        queue = FinalistQueue(recorder, left, trained=_trained(view))
        executor.run_all(phase, RetryingQueue(queue, study.budget.max_failures))
    if view.candidates and not has_work(read(recorder)):
        recorder.clear("candidate")


def _trained(view: StudyView) -> dict[str, str]:
    """Returns, for the key of each finalist whose configuration a candidate has been trained with, the candidate's."""
    done = {run.record.key for run in view.candidate_runs if run.record.status == "complete"}
    runs = [run for candidate in view.candidates for run in candidate.runs if run.key in done]
    keys = {config_digest(view.study, run.overrides): run.key for run in runs}
    digests = {one.key: config_digest(view.study, one.overrides) for one in view.planned}
    return {key: keys[digest] for key, digest in digests.items() if digest in keys}
