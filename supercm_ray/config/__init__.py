"""What a study file may say, and reading it."""

from supercm_ray.config.distributions import CategoricalDistribution, Distribution, FloatDistribution, IntDistribution
from supercm_ray.config.load import change_study, load_study, on_workers
from supercm_ray.config.plugins import import_plugins
from supercm_ray.config.registry import Entry, Frozen, OptionsModel, Registry, parse_options, rule_error
from supercm_ray.config.run import (
    FREE_TO_CHANGE,
    AlgorithmConfig,
    Config,
    DataConfig,
    Leaf,
    ModelConfig,
    PlaceConfig,
    TrainingConfig,
    flatten,
    is_option,
    set_leaf,
    set_leaves,
    to_json,
)
from supercm_ray.config.study import (
    Budget,
    Objective,
    Sampler,
    Scheduler,
    Study,
    selectable_metrics,
    why_fixed,
)

__all__ = [
    "FREE_TO_CHANGE",
    "AlgorithmConfig",
    "Budget",
    "CategoricalDistribution",
    "Config",
    "DataConfig",
    "Distribution",
    "Entry",
    "FloatDistribution",
    "Frozen",
    "IntDistribution",
    "Leaf",
    "ModelConfig",
    "Objective",
    "OptionsModel",
    "PlaceConfig",
    "Registry",
    "Sampler",
    "Scheduler",
    "Study",
    "TrainingConfig",
    "change_study",
    "flatten",
    "import_plugins",
    "is_option",
    "load_study",
    "on_workers",
    "parse_options",
    "rule_error",
    "selectable_metrics",
    "set_leaf",
    "set_leaves",
    "to_json",
    "why_fixed",
]
