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

from supercm_ray import config as schema


def to_optuna(study: schema.Study) -> dict[str, BaseDistribution]:
    """The search space, by dotted path."""
    return {path: _distribution(d) for path, d in study.space.items()}


def build_sampler(sampler: schema.Sampler, num_begun: int = 0) -> BaseSampler:
    """The sampler that proposes settings, for a study of which this many trials have begun: each resumption goes on
    with random numbers of its own, so that it does not propose the first settings again.
    """
    seed = (sampler.seed + num_begun) % 2**32
    if sampler.name == "random":
        return RandomSampler(seed=seed)
    if sampler.name == "qmc":
        with warnings.catch_warnings():  # Optuna calls it experimental each time
            warnings.simplefilter("ignore", ExperimentalWarning)
            return QMCSampler(seed=sampler.seed, scramble=True)
    if sampler.name == "gp":
        return GPSampler(seed=seed, n_startup_trials=sampler.num_startup_trials)
    return TPESampler(seed=seed, n_startup_trials=sampler.num_startup_trials)


def _distribution(distribution: schema.Distribution) -> BaseDistribution:
    match distribution:
        case schema.FloatDistribution():
            return FloatDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case schema.IntDistribution():
            return IntDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case schema.CategoricalDistribution():
            return CategoricalDistribution(distribution.choices)
