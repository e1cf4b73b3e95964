"""Conversion of a study's space and sampler to Optuna's."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from pydantic import Field

from supercm_ray import config as schema
from supercm_ray.config import OptionsModel, Registry


def to_optuna(study: schema.Study) -> dict[str, BaseDistribution]:
    """Returns the search space as Optuna's distributions, by dotted path."""
    return {path: _distribution(d) for path, d in study.space.items()}


class StartupOptions(OptionsModel):
    """Options of samplers that begin with random trials."""

    num_startup_trials: int = Field(10, ge=1)
    """Number of random trials before the sampler uses earlier results, from 1."""


SAMPLERS: Registry[Callable[..., BaseSampler]] = Registry("sampler", "sampler.name", "supercm_ray.search")
"""Samplers by name: functions of the sampler's options and a seed. One that requires `fixed_seed` gets the study's own
seed after a resumption too, since it continues from the trials that it finds."""


@SAMPLERS.register("tpe", options=StartupOptions)
def _tpe(options: StartupOptions, seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=options.num_startup_trials)


@SAMPLERS.register("gp", options=StartupOptions)
def _gp(options: StartupOptions, seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=options.num_startup_trials)


@SAMPLERS.register("random")
def _random(options: OptionsModel, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


@SAMPLERS.register("qmc", requires={"fixed_seed"})
def _qmc(options: OptionsModel, seed: int) -> BaseSampler:
    with warnings.catch_warnings():  # Optuna calls it experimental each time
        warnings.simplefilter("ignore", ExperimentalWarning)
        return QMCSampler(seed=seed, scramble=True)


def build_sampler(sampler: schema.Sampler, num_begun: int = 0) -> BaseSampler:
    """Creates the sampler of a study of which `num_begun` trials have been started. After each resumption it has
    another seed, so that it does not propose the first parameters again.
    """
    entry = SAMPLERS.find(sampler.name)
    seed = sampler.seed if "fixed_seed" in entry.requires else (sampler.seed + num_begun) % 2**32
    return entry.make(sampler.options, seed)


def _distribution(distribution: schema.Distribution) -> BaseDistribution:
    match distribution:
        case schema.FloatDistribution():
            return FloatDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case schema.IntDistribution():
            return IntDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case schema.CategoricalDistribution():
            return CategoricalDistribution(distribution.choices)
