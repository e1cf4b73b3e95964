"""The optimizer: its registry, the parameters in groups with their own rates, and restoring what it remembers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from supercm_ray.config import OptionsModel, Registry, TrainingConfig, rule_error

Group: TypeAlias = dict[str, Any]
"""A group of parameters as torch's optimizers take it, with settings of its own."""

OPTIMIZERS: Registry[Callable[..., Optimizer]] = Registry(
    "optimizer", "training.optimizer.name", "supercm_ray.training"
)
"""Optimizers by name: functions from groups of parameters, each with its `lr` and `weight_decay`, and the optimizer's
options to an optimizer of torch."""


@OPTIMIZERS.register("adamw")
def _adamw(groups: list[Group], options: OptionsModel) -> Optimizer:
    return torch.optim.AdamW(groups, fused=True)


@OPTIMIZERS.register("adam")
def _adam(groups: list[Group], options: OptionsModel) -> Optimizer:
    return torch.optim.Adam(groups, fused=True)


class SgdOptions(OptionsModel):
    """Options of `sgd`."""

    momentum: float = Field(0.0, ge=0, lt=1)
    """Share of the last step's direction that is kept, from 0 to below 1."""
    nesterov: bool = False
    """Whether the gradient is that at the place where the momentum leads (Nesterov's). Needs `momentum` above 0."""

    @model_validator(mode="after")
    def _check(self) -> SgdOptions:
        if self.nesterov and self.momentum == 0:
            remedy = "set momentum, such as 0.9, or leave nesterov out"
            raise rule_error("`momentum > 0` with nesterov", "momentum=0", path="momentum", remedy=remedy)
        return self


@OPTIMIZERS.register("sgd", options=SgdOptions)
def _sgd(groups: list[Group], options: SgdOptions) -> Optimizer:
    return torch.optim.SGD(groups, momentum=options.momentum, nesterov=options.nesterov, fused=True)


def build_optimizer(trained: nn.Module, backbone: nn.Module, training: TrainingConfig) -> Optimizer:
    """Creates the optimizer of all parameters of `trained` that require a gradient. Their groups, and so their numbers,
    do not depend on rates or decays, so that a run can go on with others.

    Args:
        trained: the module that holds all trained parameters.
        backbone: the module within it that has a learning rate of its own.
        training: the configuration of the optimizer, its learning rate and weight decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    of_backbone = set(backbone.parameters())
    for parameter in trained.parameters():
        if parameter.requires_grad:
            groups.setdefault((parameter in of_backbone, parameter.ndim > 1), []).append(parameter)
    made: list[Group] = []
    for (is_backbones, is_matrix), parameters in groups.items():
        rate = training.learning_rate * (training.backbone_learning_rate_factor if is_backbones else 1.0)
        decay = training.weight_decay if is_matrix or training.decay_norms_and_biases else 0.0
        made.append({"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    return OPTIMIZERS.find(training.optimizer.name).make(made, training.optimizer.options)


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Sets the learning rate of each group to its initial one times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def clip_gradients(optimizer: Optimizer, max_norm: float) -> None:
    """Scales the gradient of all parameters together down to this L2 norm. On several workers, whose gradients are
    averages already, all do the same.
    """
    torch.nn.utils.clip_grad_norm_(list(_parameters(optimizer)), max_norm)


def load_moments(optimizer: Optimizer, moments: dict[int, Any], *, begun: bool) -> None:
    """Restores what the optimizer remembers of each parameter, such as Adam's moments; its settings stay those of the
    configuration. A parameter that has had no gradient, as in a part of the network that is not used, has none. Each
    tensor, which may have been saved with another `channels_last`, gets the memory layout of its parameter, since fused
    optimizers read both in memory order.

    Args:
        optimizer: a new optimizer.
        moments: the saved tensors by name, by number of the parameter.
        begun: whether the saved run has made a step.

    Raises:
        ValueError: for tensors that this optimizer does not leave.
    """
    templates = _first_moments(optimizer) if begun else optimizer.state_dict()["state"]
    if not set(moments) <= set(templates) or bool(moments) != bool(templates):
        raise ValueError(f"it has moments of {len(moments)} parameters, not of {len(templates)}")
    for number, values in moments.items():
        if _kinds(values) != _kinds(templates[number]):
            raise ValueError(f"the moments of parameter {number} do not fit it")
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def _parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def _first_moments(optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """Returns what a copy of the optimizer remembers after a step of gradient 0, by number of the parameter."""
    shadow = copy.deepcopy(optimizer)
    for parameter in _parameters(shadow):
        parameter.grad = torch.zeros_like(parameter)
    shadow.step()
    found: dict[int, dict[str, Tensor]] = shadow.state_dict()["state"]
    return found


def _kinds(values: dict[str, Tensor]) -> dict[str, tuple[tuple[int, ...], bool]]:
    return {name: (tuple(value.shape), value.dtype.is_floating_point) for name, value in values.items()}
