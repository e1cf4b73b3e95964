"""The search: from a study to Optuna and back to its best settings."""

from supercm_ray.search.optuna_study import (
    REASON,
    Level,
    best_by_level,
    enqueue_points,
    importances,
    num_trials,
    objective_values,
    open_optuna,
    unfinished,
)
from supercm_ray.search.space import build_sampler, to_optuna

__all__ = [
    "REASON",
    "Level",
    "best_by_level",
    "build_sampler",
    "enqueue_points",
    "importances",
    "num_trials",
    "objective_values",
    "open_optuna",
    "to_optuna",
    "unfinished",
]
