"""The Optuna study of a study: opening, resuming, and what came out of it."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from supercm_ray.config import Study
from supercm_ray.records import StudyFolder

REASON = "reason"
"""The user attribute that says why a trial failed or was stopped."""

Group = tuple[Any, ...]


def open_optuna(study: Study, folder: StudyFolder) -> optuna.Study:
    """Opens or makes the Optuna study in the folder."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = optuna.create_study(
        storage=folder.optuna_url,
        study_name=study.name,
        directions=[objective.direction for objective in study.objective],
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    with warnings.catch_warnings():  # Optuna calls names of objectives experimental each time
        warnings.simplefilter("ignore", ExperimentalWarning)
        opened.set_metric_names([objective.metric for objective in study.objective])
    return opened


def enqueue_trials(study: Study, opened: optuna.Study) -> None:
    """Has the study's enqueued_trials tried first, each once, however often this is called."""
    for point in study.enqueued_trials[: study.budget.num_trials]:
        opened.enqueue_trial(point, skip_if_exists=True)


def num_trials(opened: optuna.Study) -> int:
    """Trials begun, ended or not."""
    return sum(trial.state != TrialState.WAITING for trial in opened.get_trials(deepcopy=False))


def unfinished(opened: optuna.Study) -> list[FrozenTrial]:
    """Trials begun and not ended: those that a kill cut off."""
    return opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def objective_values(study: Study, overrides: dict[str, Any], metrics: dict[str, float]) -> list[float]:
    """What Optuna is told: for each objective the metric, or the searched value itself."""
    return [
        float(metrics[objective.metric] if objective in study.metrics else overrides[objective.metric])
        for objective in study.objective
    ]


def best_by_group(study: Study, opened: optuna.Study) -> dict[Group, FrozenTrial]:
    """The best trial of each group among those that used their full budget, by the primary objective."""
    index, sign = _primary(study)
    groups: dict[Group, list[FrozenTrial]] = defaultdict(list)
    for trial in opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        groups[study.group(trial.params)].append(trial)
    best = {
        group: max(trials, key=lambda trial: (sign * trial.values[index], -trial.number))
        for group, trials in groups.items()
    }
    return dict(sorted(best.items()))


def importances(study: Study, opened: optuna.Study) -> dict[str, float]:
    """Importance of each searched path for the primary objective (PED-ANOVA), over full-budget trials; empty where
    there are fewer than four or their values do not differ.
    """
    index, sign = _primary(study)
    values = [trial.values[index] for trial in opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    if len(values) < 4 or len(set(values)) < 2:
        return {}
    with warnings.catch_warnings():  # the evaluator takes less for better, whatever the study's direction, and says so
        warnings.filterwarnings("ignore", category=UserWarning, message="PedAnovaImportanceEvaluator computes")
        return optuna.importance.get_param_importances(opened, target=lambda trial: -sign * trial.values[index])


def _primary(study: Study) -> tuple[int, float]:
    """Where the primary objective stands among the values of a trial, and 1 where more of it is better, else -1."""
    return study.objective.index(study.primary), 1.0 if study.primary.direction == "maximize" else -1.0
