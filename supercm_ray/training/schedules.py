"""The learning rate of each step, as a pure function of the step, so that a resumed run continues where it was."""

from __future__ import annotations

import math
from collections.abc import Callable

from pydantic import Field

from supercm_ray.config import OptionsModel, Registry, TrainingConfig

SCHEDULES: Registry[Callable[..., float]] = Registry("schedule", "training.schedule.name", "supercm_ray.training")
"""Schedules by name: functions from the fraction of the steps after the warm-up that are done, in [0, 1), and the
schedule's options to the factor that the learning rate is multiplied by."""


def rate_factor(training: TrainingConfig, step: int) -> float:
    """Returns the factor that the learning rate is multiplied by in this step, counted from 0.

    Over the first `warmup_steps` steps it rises linearly, up to 1 in the last of them; then the schedule begins.
    """
    if step < training.warmup_steps:
        return (step + 1) / training.warmup_steps
    num_steps = training.num_epochs * training.steps_per_epoch
    progress = (step - training.warmup_steps) / (num_steps - training.warmup_steps)
    return SCHEDULES.find(training.schedule.name).make(progress, training.schedule.options)


@SCHEDULES.register("constant")
def _constant(progress: float, options: OptionsModel) -> float:
    return 1.0


class StepOptions(OptionsModel):
    """Options of `step`."""

    drop_at: float = Field(0.8, gt=0, lt=1)
    """Fraction of the steps after the warm-up from which the learning rate is multiplied by `factor`, between 0 and 1.
    The published value of SuperCM is 0.8."""
    factor: float = Field(0.2, gt=0, le=1)
    """Factor by which the learning rate is multiplied from `drop_at`, above 0, up to 1."""


@SCHEDULES.register("step", options=StepOptions)
def _step(progress: float, options: StepOptions) -> float:
    return options.factor if progress >= options.drop_at else 1.0


@SCHEDULES.register("cosine")
def _cosine(progress: float, options: OptionsModel) -> float:
    """Falls from 1 to 0 along half a period of a cosine.

    Source: Loshchilov and Hutter 2017, "SGDR" (arXiv 1608.03983), without restarts.
    """
    return 0.5 * (1.0 + math.cos(math.pi * progress))


@SCHEDULES.register("usb_cosine")
def _usb_cosine(progress: float, options: OptionsModel) -> float:
    """Falls from 1 to cos(7 pi / 16), which is 0.195.

    Source: Sohn et al. 2020, "FixMatch" (arXiv 2001.07685); Wang et al. 2022, "USB" (arXiv 2208.07204).
    """
    return math.cos(7.0 / 16.0 * math.pi * progress)


class DannScheduleOptions(OptionsModel):
    """Options of the schedule `dann`."""

    alpha: float = Field(10.0, ge=0)
    """Speed of the fall, from 0: at the fraction p of the steps after the warm-up the learning rate is multiplied by
    (1 + alpha p)^(-beta). It is the published speed per step times the number of these steps."""
    beta: float = Field(0.75, ge=0)
    """Exponent of the fall, from 0."""


@SCHEDULES.register("dann", options=DannScheduleOptions)
def _dann(progress: float, options: DannScheduleOptions) -> float:
    """Falls as (1 + alpha p)^(-beta).

    Source: Ganin et al. 2016, "Domain-adversarial training of neural networks" (arXiv 1505.07818).
    """
    return float((1.0 + options.alpha * progress) ** -options.beta)
