"""Trials as Optuna and the report see them, computed from records alone."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from supercm_ray.config import Leaf, Study
from supercm_ray.records import RunView
from supercm_ray.search.space import to_optuna

REASON = "reason"
"""The user attribute of a trial that says why it failed or was stopped."""

Group: TypeAlias = tuple[Leaf, ...]

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""Optuna's states by the status of a record; a run that is open is RUNNING."""


def objective_values(study: Study, overrides: Mapping[str, Leaf], metrics: Mapping[str, float]) -> list[float]:
    """Returns the value of each objective: the metric, or the searched value itself."""
    values = [metrics[one.metric] if one in study.metrics else overrides[one.metric] for one in study.objective]
    return [float(value) for value in values]  # type: ignore[arg-type]  # a searched objective is a number


def best_by_group(study: Study, trials: Sequence[RunView]) -> dict[Group, RunView]:
    """Returns the best trial of each group among those that used their full budget, by the primary objective."""
    return {group: ranked[0] for group, ranked in ranked_by_group(study, trials).items()}


def ranked_by_group(study: Study, trials: Sequence[RunView]) -> dict[Group, list[RunView]]:
    """Returns the trials of each group that used their full budget, the best by the primary objective first."""
    groups: dict[Group, list[RunView]] = defaultdict(list)
    for trial in trials:
        if trial.record.status == "complete":
            groups[study.group(trial.record.overrides)].append(trial)
    metric = study.primary.metric
    return {
        group: sorted(members, key=lambda trial: (-sign(study) * trial.metrics[metric], trial.number))
        for group, members in sorted(groups.items())
    }


def importances(study: Study, trials: Sequence[RunView]) -> dict[str, float]:
    """Computes the importance of each searched path for the primary objective (PED-ANOVA) over full-budget trials;
    empty if there are fewer than four or their values do not differ.
    """
    complete = [trial for trial in trials if trial.record.status == "complete"]
    values = {trial.metrics[study.primary.metric] for trial in complete}
    if len(complete) < 4 or len(values) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = optuna.create_study(directions=[objective.direction for objective in study.objective])
    known.add_trials([frozen_trial(study, trial) for trial in complete])
    index, factor = study.objective.index(study.primary), sign(study)
    with warnings.catch_warnings():  # the evaluator takes less for better, whatever the study's direction, and says so
        warnings.filterwarnings("ignore", category=UserWarning, message="PedAnovaImportanceEvaluator computes")
        return optuna.importance.get_param_importances(known, target=lambda trial: -factor * trial.values[index])


def frozen_trial(study: Study, trial: RunView) -> FrozenTrial:
    """Converts the record of a trial to Optuna's form."""
    record, distributions = trial.record, to_optuna(study)
    state = STATES.get(record.status, TrialState.RUNNING)
    complete = state == TrialState.COMPLETE
    return create_trial(
        state=state,
        values=objective_values(study, record.overrides, trial.metrics) if complete else None,
        params={path: record.overrides[path] for path in distributions},
        distributions=distributions,
        user_attrs={} if state == TrialState.RUNNING else _user_attributes(study, trial),
        intermediate_values=intermediate_values(study, trial),
    )


def _user_attributes(study: Study, trial: RunView) -> dict[str, object]:
    """Returns why a trial ended, and with several objectives the last values of one that was stopped early, which
    Optuna's own pages would show without any value.
    """
    found: dict[str, object] = {REASON: trial.record.reason} if trial.record.reason else {}
    if len(study.objective) > 1 and trial.record.status == "pruned":
        found |= {one.metric: trial.metrics[one.metric] for one in study.objective if one.metric in trial.metrics}
    return found


def intermediate_values(study: Study, trial: RunView) -> dict[int, float]:
    """Returns the primary metric by epoch; empty for several objectives, for which Optuna accepts final values only."""
    if len(study.objective) > 1:
        return {}
    return {int(metrics["epoch"]): float(metrics[study.primary.metric]) for metrics in trial.history}


def sign(study: Study) -> float:
    """Returns the number by which values of the primary objective are multiplied so that more is better: 1 or -1."""
    return 1.0 if study.primary.direction == "maximize" else -1.0
