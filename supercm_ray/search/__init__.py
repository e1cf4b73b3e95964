"""The search: from a study to Optuna and back to its best settings."""

from supercm_ray.search.optuna_study import (
    REASON,
    Group,
    best_by_group,
    enqueue_trials,
    importances,
    num_trials,
    objective_values,
    open_optuna,
    unfinished,
)
from supercm_ray.search.space import build_sampler, to_optuna

__all__ = [
    "REASON",
    "Group",
    "best_by_group",
    "build_sampler",
    "enqueue_trials",
    "importances",
    "num_trials",
    "objective_values",
    "open_optuna",
    "to_optuna",
    "unfinished",
]
