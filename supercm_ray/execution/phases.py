"""The two phases of a study on any executor: the search, then the finalists."""

from __future__ import annotations

import json

from supercm_ray.data import split_dataset
from supercm_ray.errors import SuperCMError
from supercm_ray.execution.executor import Executor, Phase
from supercm_ray.execution.queues import FinalistQueue, TrialQueue
from supercm_ray.execution.recorder import Recorder
from supercm_ray.execution.stopping import SCHEDULERS
from supercm_ray.records import RunView
from supercm_ray.search import Group, OptunaStore, StudyView, TrialSource, best_by_group, plan_finalists, save_plan


def read(recorder: Recorder) -> StudyView:
    """Reads the study's results so far."""
    return StudyView.read(recorder.study, recorder.folder)


def has_work(view: StudyView) -> bool:
    """Returns whether any run is left."""
    ended = [trial for trial in view.trials if trial.record.status not in ("running", "interrupted")]
    return len(ended) < view.study.budget.num_trials or len(ended) < len(view.trials) or bool(open_finalists(view))


def open_finalists(view: StudyView) -> list[str]:
    """Returns the keys of the finalists that follow from the trials and have not ended."""
    best = best_by_group(view.study, view.trials)
    planned = plan_finalists(view.study, {group: trial.record.overrides for group, trial in best.items()})
    return [one.key for one in planned if one.key not in view.runs or view.runs[one.key].is_open]


def reconcile_optuna(view: StudyView) -> None:
    """Makes Optuna's storage agree with the records if no run is left."""
    OptunaStore(view.study, view.folder).reconcile(view.trials)


def find_best(view: StudyView) -> dict[Group, RunView]:
    """Returns the best trial of each group.

    Raises:
        SuperCMError: if no trial has used its full budget.
    """
    best = best_by_group(view.study, view.trials)
    if not best:
        reasons = sorted({trial.record.reason for trial in view.trials if trial.record.status == "failed"})
        raise SuperCMError(
            f"no trial of {view.study.name} came to its end with a usable result; "
            + ("; ".join(reasons[:3]) or "none has run")
        )
    return best


def describe_data(recorder: Recorder) -> None:
    """Stores what readers need to know of the data set, such as class names, so that they need not load it."""
    recorder.folder.write("data.json", json.dumps({"class_names": list(recorder.dataset.class_names)}))


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
    best = find_best(view)
    finalists = plan_finalists(study, {group: trial.record.overrides for group, trial in best.items()})
    save_plan(recorder.folder, finalists)
    known = [view.runs[one.key].record for one in finalists if one.key in view.runs]
    recorder.phase("finalists", len(finalists), known)
    left = [one for one in finalists if one.key not in view.runs or view.runs[one.key].is_open]
    if left:
        phase = Phase("finalists", study, recorder.folder, recorder.dataset, evaluate_test=True)
        executor.run_all(phase, FinalistQueue(recorder, left))
