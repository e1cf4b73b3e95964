"""Ray Tune's door to Optuna, with outcomes told as what they are and interrupted trials taken up again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from supercm_ray.config import Study
from supercm_ray.records import StudyFolder
from supercm_ray.runtime.tune_trainable import FAILURE, PROCESS_FAILED, outcome
from supercm_ray.search import (
    REASON,
    build_sampler,
    enqueue_trials,
    num_trials,
    objective_values,
    open_optuna,
    to_optuna,
    unfinished,
)
from supercm_ray.search.finalists import Finalist

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def trial_key(number: int) -> str:
    """The key of the run folder of an Optuna trial."""
    return f"trials/{number:04d}"


class _WithoutSnapshots(Searcher):
    """Leaves nothing for Tune's own snapshots, which are never restored: Optuna's storage and the records have it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class StudySearch(_WithoutSnapshots, OptunaSearch):
    """OptunaSearch for a study that may have been begun before.

    Where it departs from its parent: a trial that a kill cut off is handed out again under its number; no more
    trials begin than the budget has; a trial stopped early ends as PRUNED, one that failed or whose objective is not
    a number as FAIL with the reason, so that none stays RUNNING.
    """

    def __init__(self, study: Study, folder: StudyFolder, prepare: Callable[[str, dict[str, Any]], None]) -> None:
        """Args: the study, its folder, where Optuna's storage is, and what is to be done with the key and the
        overrides of a run before a worker gets them.
        """
        self._study, self._prepare = study, prepare
        self._optuna = open_optuna(study, folder)
        enqueue_trials(study, self._optuna)
        self._interrupted = list(unfinished(self._optuna))
        super().__init__(
            space=to_optuna(study),
            metric=[objective.metric for objective in study.objective],
            mode=[objective.direction[:3] for objective in study.objective],
            sampler=build_sampler(study.sampler, num_trials(self._optuna)),
            study_name=study.name,
            storage=self._optuna._storage,
        )

    @property
    def num_left(self) -> int:
        """Trials still to be run, those cut off included."""
        return max(0, self._study.budget.num_trials - num_trials(self._optuna)) + len(self._interrupted)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The run to train next: its key and what it changes of the base."""
        if self._interrupted:
            self._ot_trials[trial_id] = optuna.trial.Trial(self._optuna, self._interrupted.pop(0)._trial_id)
        elif num_trials(self._optuna) >= self._study.budget.num_trials:
            return Searcher.FINISHED
        else:
            self._ot_trials[trial_id] = self._ot_study.ask()
        trial = self._ot_trials[trial_id]
        overrides = {path: trial._suggest(path, space) for path, space in self._space.items()}
        key = trial_key(trial.number)
        self._prepare(key, overrides)
        return {"run": key, "overrides": overrides}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tells Optuna the value of an epoch, where there is one objective: for several it takes outcomes alone."""
        if len(self._study.objective) > 1 or FAILURE in result or trial_id not in self._ot_trials:
            return
        with warnings.catch_warnings():  # epochs that a resumed trial goes through again are known already
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            self._ot_trials[trial_id].report(float(result[self._study.primary.metric]), int(result["epoch"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells Optuna how a trial ended."""
        if trial_id not in self._ot_trials:
            return
        if result and not error:
            self.on_trial_result(trial_id, result)
        trial = self._ot_trials.pop(trial_id)
        if result and not error:
            status, reason = outcome(self._study, trial.params, result)
        else:
            status, reason = "failed", PROCESS_FAILED
        if reason:
            trial.set_user_attr(REASON, reason)
        values = objective_values(self._study, trial.params, result) if result and status == "complete" else None
        self._optuna.tell(trial, values, state=_STATES[status])


class GivenRuns(_WithoutSnapshots):
    """Hands out the finalists of a list, in order."""

    def __init__(self, finalists: list[Finalist], prepare: Callable[[Finalist], None]) -> None:
        """Args: the runs, and what is to be done with one before a worker gets it."""
        super().__init__()
        self._finalists, self._prepare = list(finalists), prepare

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next run."""
        if not self._finalists:
            return Searcher.FINISHED
        finalist = self._finalists.pop(0)
        self._prepare(finalist)
        return {"run": finalist.key, "overrides": finalist.overrides}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the list is as it is."""
