"""A study under Ray Tune: the search, then the finalists."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from supercm_ray.config import Study
from supercm_ray.data import Dataset, split_dataset
from supercm_ray.errors import SuperCMError
from supercm_ray.execution.recorder import Recorder, RecorderCallback
from supercm_ray.records import RunRecord, StudyFolder
from supercm_ray.runtime.jobs import trial_resources, trials_at_once
from supercm_ray.runtime.tune_scheduler import GroupScheduler
from supercm_ray.runtime.tune_search import GivenRuns, StudySearch, trial_key
from supercm_ray.runtime.tune_trainable import PROCESS_FAILED, TrialRunner
from supercm_ray.search import REASON, best_by_group, num_trials, open_optuna, unfinished
from supercm_ray.search.finalists import Finalist, plan

_STATUS_OF_STATE = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
_RETRIES = 2
"""Times a run is begun again, from its checkpoint, after its worker process died."""


def has_work(study: Study, folder: StudyFolder) -> bool:
    """Whether anything is left to be run, so that Ray is needed."""
    opened = open_optuna(study, folder)
    if unfinished(opened) or num_trials(opened) < study.budget.num_trials:
        return True
    return bool(open_finalists(folder, chosen(study, folder)))


def chosen(study: Study, folder: StudyFolder) -> list[Finalist]:
    """The finalists that the search has come to.

    Raises:
        SuperCMError: where no trial has used its full budget.
    """
    best = best_by_group(study, open_optuna(study, folder))
    if not best:
        reasons = sorted({record.reason for record in folder.runs("trial") if record.status == "failed"})
        raise SuperCMError(
            f"no trial of {study.name} came to its end with a usable result; "
            + ("; ".join(reasons[:3]) or "none has run")
        )
    return plan(study, {group: trial.params for group, trial in best.items()})


def open_finalists(folder: StudyFolder, finalists: list[Finalist]) -> list[Finalist]:
    """Those not yet run to an end."""
    records = {finalist.key: folder.run(finalist.key).record() for finalist in finalists}
    return [finalist for finalist in finalists if _is_open(records[finalist.key])]


def _is_open(record: RunRecord | None) -> bool:
    """Whether a run has no end yet, or one that was not its own: its process died."""
    return record is None or record.status in ("running", "interrupted") or record.reason.startswith(PROCESS_FAILED)


def run_search(recorder: Recorder) -> None:
    """Runs what is left of the study's trials. Their workers get the data with the test rows blanked out."""
    study, folder = recorder.study, recorder.folder
    reconcile(recorder)
    search = StudySearch(study, folder, lambda key, overrides: recorder.begin(key, "trial", overrides, {}))
    scheduler = GroupScheduler(study)
    scheduler.replay(folder)
    at_once = trials_at_once(study.budget)
    recorder.phase("search", study.budget.num_trials, folder.runs("trial"))
    if search.num_left:
        test = split_dataset(recorder.dataset, study.base).test
        _run(recorder, "search", recorder.dataset.mask_test_split(test), search, scheduler, search.num_left, at_once)
        recorder.clear_trials()
    untold = unfinished(open_optuna(study, folder))
    if untold:
        raise SuperCMError(
            f"the end of {len(untold)} trials could not be written to {folder.optuna_url}; see that it can be, then "
            "give the same command again"
        )


def run_finalists(recorder: Recorder, finalists: list[Finalist]) -> None:
    """Runs those finalists that have not come to their end. Each reads the test split once, after its last epoch."""
    at_once = trials_at_once(recorder.study.budget)
    recorder.phase("finalists", len(finalists), [recorder.folder.run(finalist.key).record() for finalist in finalists])
    left = open_finalists(recorder.folder, finalists)
    if left:
        given = GivenRuns(left, lambda one: recorder.begin(one.key, "finalist", one.overrides, one.labels))
        _run(recorder, "finalists", recorder.dataset, given, FIFOScheduler(), len(left), at_once)


def _run(
    recorder: Recorder,
    phase: Literal["search", "finalists"],
    dataset: Dataset,
    source: Searcher,
    scheduler: TrialScheduler,
    num_samples: int,
    at_once: int,
) -> None:
    budget, path = recorder.study.budget, recorder.folder.path.resolve()
    trainable = tune.with_parameters(
        TrialRunner,
        study=recorder.study,
        folder=replace(recorder.folder, path=path),
        dataset=dataset,
        evaluate_test=phase == "finalists",
    )
    tune.Tuner(
        tune.with_resources(trainable, trial_resources(budget)),
        tune_config=tune.TuneConfig(
            search_alg=source,
            scheduler=scheduler,
            num_samples=num_samples,
            max_concurrent_trials=at_once,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=phase,
            storage_path=str(path / "ray"),
            callbacks=[RecorderCallback(recorder)],
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
            verbose=0,
        ),
    ).fit()


def reconcile(recorder: Recorder) -> None:
    """Closes the records of trials of which Optuna was told the end just before a kill."""
    for trial in open_optuna(recorder.study, recorder.folder).get_trials(deepcopy=False):
        record = recorder.folder.run(trial_key(trial.number)).record()
        status = _STATUS_OF_STATE.get(trial.state.name)
        if record is not None and status is not None and record.status in ("running", "interrupted"):
            recorder.end(record.key, status, str(trial.user_attrs.get(REASON, "")))
