"""Early stopping within a group: a trial with few labels is never measured against one with many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from supercm_ray.config import Study
from supercm_ray.records import StudyFolder
from supercm_ray.runtime.tune_trainable import FAILURE

_Controller = Any


class GroupScheduler(FIFOScheduler):
    """Hands each call on to the scheduler of the trial's group, one ASHA on epochs for each group."""

    def __init__(self, study: Study) -> None:
        """Args: the study, for its scheduler, primary objective and group_paths."""
        super().__init__()
        self._study = study
        self._groups: dict[tuple[Any, ...], TrialScheduler] = {}
        self._passed: dict[str, int] = {}

    def _of(self, trial: Trial) -> TrialScheduler:
        group = self._study.group(trial.config["overrides"])
        if group not in self._groups:
            self._groups[group] = self._make()
        return self._groups[group]

    def _make(self) -> TrialScheduler:
        study = self._study
        if study.scheduler.name == "none":
            return FIFOScheduler()
        return ASHAScheduler(
            time_attr="epoch",
            metric=study.primary.metric,
            mode=study.primary.direction[:3],
            max_t=study.base.training.num_epochs,
            grace_period=study.scheduler.grace_period,
            reduction_factor=study.scheduler.reduction_factor,
        )

    def replay(self, folder: StudyFolder) -> None:
        """Recalls what was before a resumption: trials that ended, so that later ones are measured against them, and
        how far those came that were cut off, so that they are not stopped at a rung they have passed.
        """
        for record in folder.runs("trial"):
            history = folder.run(record.key).history()
            if record.status in ("running", "interrupted"):
                self._passed[record.key] = len(history)
            elif record.status in ("complete", "pruned"):
                past: Any = SimpleNamespace(trial_id=record.key, config={"overrides": record.overrides})
                self.on_trial_add(None, past)
                for metrics in history:
                    self._of(past).on_trial_result(None, past, metrics)

    def on_trial_add(self, tune_controller: _Controller, trial: Trial) -> None:
        """See TrialScheduler."""
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: _Controller, trial: Trial) -> None:
        """See TrialScheduler."""
        self._of(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: _Controller, trial: Trial, result: dict[str, Any]) -> str:
        """See TrialScheduler."""
        if FAILURE in result:
            return TrialScheduler.STOP
        decision = self._of(trial).on_trial_result(tune_controller, trial, result)
        passed = self._passed.get(trial.config["run"], 0)
        return TrialScheduler.CONTINUE if result["epoch"] <= passed else decision

    def on_trial_complete(self, tune_controller: _Controller, trial: Trial, result: dict[str, Any]) -> None:
        """See TrialScheduler."""
        if FAILURE not in result:
            self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: _Controller, trial: Trial) -> None:
        """See TrialScheduler."""
        self._of(trial).on_trial_remove(tune_controller, trial)
