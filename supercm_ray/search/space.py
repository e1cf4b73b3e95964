"""From study files to Optuna."""

from __future__ import annotations

import warnings

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from supercm_ray import study as schema


def to_optuna(study: schema.Study) -> dict[str, BaseDistribution]:
    """The search space, by dotted path."""
    return {path: _distribution(d) for path, d in study.space.items()}


def build_sampler(sampler: schema.Sampler) -> BaseSampler:
    """The sampler that proposes settings."""
    if sampler.name == "random":
        return RandomSampler(seed=sampler.seed)
    if sampler.name == "qmc":
        with warnings.catch_warnings():  # Optuna calls it experimental each time
            warnings.simplefilter("ignore", ExperimentalWarning)
            return QMCSampler(seed=sampler.seed, scramble=True)
    if sampler.name == "gp":
        return GPSampler(seed=sampler.seed, n_startup_trials=sampler.num_startup_trials)
    return TPESampler(seed=sampler.seed, n_startup_trials=sampler.num_startup_trials)


def _distribution(distribution: schema.Distribution) -> BaseDistribution:
    match distribution:
        case schema.FloatDistribution():
            return FloatDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case schema.IntDistribution():
            return IntDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case schema.CategoricalDistribution():
            return CategoricalDistribution(distribution.choices)
