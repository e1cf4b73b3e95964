"""Schedules against their closed forms, and against torch's own where it has one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from supercm_ray.config import TrainingConfig
from supercm_ray.training import fit
from supercm_ray.training.schedules import rate_factor

STEPS = 40


def factors(name: str = "constant", warmup_steps: int = 0, **options: float) -> list[float]:
    training = TrainingConfig(
        num_epochs=4, steps_per_epoch=10, warmup_steps=warmup_steps, schedule={"name": name, "options": options}
    )
    return [rate_factor(training, step) for step in range(STEPS)]


def by_torch(make) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_default_is_constant() -> None:
    assert factors() == [1.0] * STEPS


def test_a_step_is_torch_s_multi_step() -> None:
    expected = by_torch(lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [30], gamma=0.2))
    assert factors("step", drop_at=0.75) == pytest.approx(expected)


def test_the_cosine_is_torch_s_cosine_annealing() -> None:
    expected = by_torch(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS))
    assert factors("cosine") == pytest.approx(expected)


def test_usb_s_cosine_ends_at_a_fifth() -> None:
    assert factors("usb_cosine") == pytest.approx([math.cos(7 * math.pi * k / (16 * STEPS)) for k in range(STEPS)])


def test_the_annealing_is_that_of_a_speed_per_step() -> None:
    """As TLLib has it: `(1 + gamma step)^-0.75`."""
    gamma = 0.02
    assert factors("dann", alpha=gamma * STEPS) == pytest.approx([(1 + gamma * k) ** -0.75 for k in range(STEPS)])
    assert factors("dann")[20] == pytest.approx(6**-0.75)


def test_a_warm_up_rises_linearly_and_the_schedule_follows() -> None:
    found = factors("cosine", warmup_steps=8)
    assert found[:8] == [(step + 1) / 8 for step in range(8)]
    assert found[8:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 32)) for k in range(32)])


def test_every_step_of_a_run_has_the_rate_of_its_schedule(start) -> None:
    settings = {"training.learning_rate": 0.01, "training.warmup_steps": 2, "training.schedule.name": "usb_cosine"}
    state, data = start(settings)
    rates = []
    state.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    list(fit(state, data))
    assert rates == [0.01 * rate_factor(state.config.training, step) for step in range(9)]
