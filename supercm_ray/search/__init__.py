"""The search with Optuna: search space, proposed trials, candidates, finalists, and the reader of a study's records."""

from supercm_ray.search.candidates import Candidate, default_overrides, plan_candidates
from supercm_ray.search.choices import Choice
from supercm_ray.search.finalists import (
    BASELINE,
    TUNED,
    Finalist,
    Row,
    config_digest,
    load_plan,
    plan_finalists,
    save_plan,
    table,
)
from supercm_ray.search.optuna_storage import OptunaStore
from supercm_ray.search.space import SAMPLERS, build_sampler, to_optuna
from supercm_ray.search.study_view import StudyView
from supercm_ray.search.trial_source import Proposal, TrialSource
from supercm_ray.search.trials import REASON, Group, best_by_group, importances, objective_values

__all__ = [
    "BASELINE",
    "REASON",
    "SAMPLERS",
    "TUNED",
    "Candidate",
    "Choice",
    "Finalist",
    "Group",
    "OptunaStore",
    "Proposal",
    "Row",
    "StudyView",
    "TrialSource",
    "best_by_group",
    "build_sampler",
    "config_digest",
    "default_overrides",
    "importances",
    "load_plan",
    "objective_values",
    "plan_candidates",
    "plan_finalists",
    "save_plan",
    "table",
    "to_optuna",
]
