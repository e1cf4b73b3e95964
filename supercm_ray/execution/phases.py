"""The two phases of a study on any executor: the search, then the finalists."""

from __future__ import annotations

import json

import numpy as np

from supercm_ray.data import split_dataset
from supercm_ray.errors import SuperCMError
from supercm_ray.execution.executor import Executor, Phase
from supercm_ray.execution.queues import FinalistQueue, TrialQueue
from supercm_ray.execution.recorder import Recorder
from supercm_ray.execution.stopping import SCHEDULERS
from supercm_ray.search import OptunaStore, StudyView, TrialSource, save_plan


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
    """Stores what readers need to know of the data set, such as class names, so that they need not load it."""
    dataset = recorder.dataset
    val = split_dataset(dataset, recorder.study.base).val
    described = {
        "class_names": list(dataset.class_names),
        "val_class_counts": np.bincount(dataset.labels[val], minlength=dataset.num_classes).tolist(),
    }
    recorder.folder.write("data.json", json.dumps(described))


def run_search(recorder: Recorder, executor: Executor) -> None:
    """Runs the remaining trials of the study. They get the data with the test split masked."""
    study, view = recorder.study, read(recorder)
    rule = SCHEDULERS.find(study.scheduler.name).make(study)
    rule.replay(view.trials)
    source = TrialSource(study, recorder.folder, view.trials)
    queue = TrialQueue(recorder, source, rule)
    recorder.phase("search", study.budget.num_trials, [trial.record for trial in view.trials])
    if queue.num_left:
        test = split_dataset(recorder.dataset, study.base).test
        data = recorder.dataset.mask_test_split(test)
        executor.run_all(Phase("search", study, recorder.folder, data, evaluate_test=False), queue)
    recorder.clear_trials()


def run_finalists(recorder: Recorder, executor: Executor) -> None:
    """Plans the finalists from the trials, stores the plan, and runs those that have not ended. Each reads the test
    split once, after its last epoch.

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
        executor.run_all(phase, FinalistQueue(recorder, left))
