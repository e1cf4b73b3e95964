"""Early stopping within a group: a trial with few labels is never compared with one with many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from supercm_ray.config import Leaf, Study
from supercm_ray.records import EpochMetrics, RunView
from supercm_ray.runtime.schedulers import AshaOptions


class AshaByGroup:
    """Ray Tune's ASHA on epochs, one scheduler for each group of a study."""

    def __init__(self, study: Study) -> None:
        """Reads the study's scheduler, primary objective and groups."""
        self._study = study
        self._groups: dict[tuple[Leaf, ...], TrialScheduler] = {}
        self._passed: dict[str, int] = {}
        self._added: set[str] = set()

    def decide(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> bool:
        """Returns whether a trial is stopped; never at a rung that it passed before a resumption."""
        scheduler, trial = self._of(key, overrides)
        decision = scheduler.on_trial_result(None, trial, self._result(message))
        return bool(decision == TrialScheduler.STOP) and message.epoch > self._passed.get(key, 0)

    def complete(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> None:
        """Reads the last epoch of a trial."""
        scheduler, trial = self._of(key, overrides)
        scheduler.on_trial_complete(None, trial, self._result(message))
        self._added.discard(key)

    def replay(self, trials: Sequence[RunView]) -> None:
        """Restores the results of trials from before a resumption."""
        for trial in trials:
            record = trial.record
            if record.status in ("running", "interrupted"):
                self._passed[record.key] = len(trial.history)
            elif record.status in ("complete", "pruned"):
                for metrics in trial.history:
                    self.decide(record.key, record.overrides, EpochMetrics(int(metrics["epoch"]), metrics))

    def _of(self, key: str, overrides: Mapping[str, Leaf]) -> tuple[TrialScheduler, SimpleNamespace]:
        """Returns the scheduler of a trial's group, and the trial as it knows it."""
        group, trial = self._study.group(overrides), SimpleNamespace(trial_id=key)
        if group not in self._groups:
            self._groups[group] = self._make()
        if key not in self._added:
            self._groups[group].on_trial_add(None, trial)
            self._added.add(key)
        return self._groups[group], trial

    def _make(self) -> ASHAScheduler:
        study, options = self._study, self._study.scheduler.options
        assert isinstance(options, AshaOptions)
        return ASHAScheduler(
            time_attr="epoch",
            metric=study.primary.metric,
            mode=study.primary.direction[:3],
            max_t=study.base.training.num_epochs,
            grace_period=options.grace_period,
            reduction_factor=options.reduction_factor,
        )

    def _result(self, message: EpochMetrics) -> dict[str, float]:
        return {"epoch": message.epoch, self._study.primary.metric: message.metrics[self._study.primary.metric]}
