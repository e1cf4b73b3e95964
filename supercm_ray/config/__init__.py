"""What a study file may say, and reading it."""

from supercm_ray.config.algorithm import AlgorithmConfig
from supercm_ray.config.cluster import ClusterOptions
from supercm_ray.config.distributions import CategoricalDistribution, Distribution, FloatDistribution, IntDistribution
from supercm_ray.config.load import change_study, load_for_training, load_study, on_workers
from supercm_ray.config.model import ModelConfig
from supercm_ray.config.plugins import import_plugins
from supercm_ray.config.registry import Entry, Frozen, OptionsModel, Registry, parse_options, rule_error
from supercm_ray.config.run import (
    FREE_TO_CHANGE,
    Config,
    DataConfig,
    Leaf,
    PlaceConfig,
    StrongViewConfig,
    flatten,
    is_option,
    set_leaf,
    set_leaves,
    to_json,
)
from supercm_ray.config.scaling import (
    EFFICIENCY_FLOOR,
    Network,
    ScalingConfig,
    SimulationConfig,
    check_scaling,
    scaling_of,
)
from supercm_ray.config.study import (
    VAL_METRICS,
    Budget,
    Objective,
    Sampler,
    Scheduler,
    Study,
    selectable_metrics,
    why_fixed,
)
from supercm_ray.config.training import OptimizerConfig, ScheduleConfig, TrainingConfig

__all__ = [
    "EFFICIENCY_FLOOR",
    "FREE_TO_CHANGE",
    "VAL_METRICS",
    "AlgorithmConfig",
    "Budget",
    "CategoricalDistribution",
    "ClusterOptions",
    "Config",
    "DataConfig",
    "Distribution",
    "Entry",
    "FloatDistribution",
    "Frozen",
    "IntDistribution",
    "Leaf",
    "ModelConfig",
    "Network",
    "Objective",
    "OptimizerConfig",
    "OptionsModel",
    "PlaceConfig",
    "Registry",
    "Sampler",
    "ScalingConfig",
    "ScheduleConfig",
    "Scheduler",
    "SimulationConfig",
    "StrongViewConfig",
    "Study",
    "TrainingConfig",
    "change_study",
    "check_scaling",
    "flatten",
    "import_plugins",
    "is_option",
    "load_for_training",
    "load_study",
    "on_workers",
    "parse_options",
    "rule_error",
    "scaling_of",
    "selectable_metrics",
    "set_leaf",
    "set_leaves",
    "to_json",
    "why_fixed",
]
