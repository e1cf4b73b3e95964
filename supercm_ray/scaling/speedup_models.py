"""Models of the speedup by more workers.

With N workers, throughput X in samples per second, g that of one worker, and speedup S = X / g:

    Amdahl (1967)       S = N / (1 + a (N - 1))                     a: serial fraction of the computation
    Gustafson (1988)    S = N - a (N - 1)                           a: serial fraction of the time
    Universal (Gunther) S = N / (1 + a (N - 1) + b N (N - 1))       a: contention, b: cost of keeping workers in step

Shapes: C numbers of workers, P parameters of a model, ... any number of leading dimensions. Within the package the
first parameter is log g, since measurement errors are proportional to what is measured.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
SpeedupModel: TypeAlias = Literal["amdahl", "gustafson", "universal"]

SPEEDUP_MODELS: tuple[SpeedupModel, ...] = ("amdahl", "gustafson", "universal")
"""The models, in order of preference among those that the data do not distinguish."""
PARAMETERS: dict[SpeedupModel, tuple[str, ...]] = {
    "amdahl": ("g", "a"),
    "gustafson": ("g", "a"),
    "universal": ("g", "a", "b"),
}
MEANINGS: dict[SpeedupModel, str] = {
    "amdahl": "g: samples per second of one worker, a: serial fraction of the computation",
    "gustafson": "g: samples per second of one worker, a: serial fraction of the time",
    "universal": "g: samples per second of one worker, a: contention, b: cost of keeping the workers in step",
}


def throughputs(model: SpeedupModel, parameters: Array, num_workers_C: Array) -> Array:
    """Computes throughputs (..., C) in samples per second for parameters (..., P), of which the first is g itself."""
    found: Array = np.exp(log_throughputs(model, with_log(parameters), num_workers_C))
    return found


def log_throughputs(model: SpeedupModel, parameters: Array, num_workers_C: Array) -> Array:
    """Computes logarithms of throughputs (..., C) for parameters (..., P), of which the first is log g."""
    others = num_workers_C - 1
    if model == "gustafson":
        found: Array = parameters[..., :1] + np.log(num_workers_C - parameters[..., 1:2] * others)
        return found
    logs: Array = parameters[..., :1] + np.log(num_workers_C) - np.log(_slowdown(model, parameters, num_workers_C))
    return logs


def gradients(model: SpeedupModel, parameters: Array, num_workers_C: Array) -> Array:
    """Computes derivatives (..., C, P) of `log_throughputs` with respect to the parameters (..., P)."""
    others = num_workers_C - 1
    ones = np.ones((*parameters.shape[:-1], len(num_workers_C)))
    if model == "gustafson":
        return np.stack([ones, -others / (num_workers_C - parameters[..., 1:2] * others)], axis=-1)
    slowdown = _slowdown(model, parameters, num_workers_C)
    columns = [ones, -others / slowdown]
    columns += [-num_workers_C * others / slowdown] if model == "universal" else []
    return np.stack(columns, axis=-1)


def bounds(model: SpeedupModel) -> tuple[Array, Array]:
    """Returns the lower and upper bound (P,) of each parameter, the first of which is log g; a fraction
    is from 0 to 1.
    """
    num_shares = len(PARAMETERS[model]) - 1
    upper = math.inf if model == "universal" else 1.0
    return np.array([-math.inf, *[0.0] * num_shares]), np.array([math.inf, *[upper] * num_shares])


def with_log(parameters: Array) -> Array:
    """Returns parameters (..., P) with log g in place of g."""
    return np.concatenate([np.log(parameters[..., :1]), parameters[..., 1:]], axis=-1)


def without_log(parameters: Array) -> Array:
    """Returns parameters (..., P) with g in place of log g."""
    return np.concatenate([np.exp(parameters[..., :1]), parameters[..., 1:]], axis=-1)


def _slowdown(model: SpeedupModel, parameters: Array, num_workers_C: Array) -> Array:
    """Computes N / S (..., C) of Amdahl's and the universal model."""
    others = num_workers_C - 1
    slowdown: Array = 1 + parameters[..., 1:2] * others
    return slowdown + parameters[..., 2:3] * num_workers_C * others if model == "universal" else slowdown
