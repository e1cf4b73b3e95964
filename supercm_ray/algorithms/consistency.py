"""Algorithms that make predictions for two views of an image agree. Shapes: U unlabeled samples, K classes."""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from supercm_ray.algorithms.base import ALGORITHMS, Context, Step, Terms, frozen_statistics
from supercm_ray.config import OptionsModel
from supercm_ray.core import update_ema
from supercm_ray.models import Classifier


@ALGORITHMS.register("pi_model", requires={"unlabeled", "two_views"})
def pi_model(step: Step) -> Terms:
    """Pi-model: mean squared difference between the softmaxes of two weak views; the second is the target.

    Source: Laine and Aila 2017, "Temporal ensembling" (arXiv 1610.02242).
    """
    with torch.no_grad(), frozen_statistics(step.model):
        target_UK = step.model(step.weak_view()).assignments
    return {"consistency": functional.mse_loss(step.unlabeled_logits.softmax(dim=1), target_UK)}


class MeanTeacherOptions(OptionsModel):
    """Options of `mean_teacher`."""

    decay: float = Field(0.95, ge=0, lt=1)
    """Decay per step of the teacher's parameters, from 0 to below 1."""
    decay_rampup: bool = True
    """Whether the decay is at most 1 - 1 / (t + 1) after t steps, as published, so that the teacher of the first steps
    is the mean of all networks so far. Otherwise it is `decay` from the first step."""


@ALGORITHMS.register("mean_teacher", options=MeanTeacherOptions, requires={"unlabeled", "two_views"})
class MeanTeacher(nn.Module):
    """Mean Teacher: the Pi-model with a target computed by a moving average of the network.

    Source: Tarvainen and Valpola 2017, "Mean teachers are better role models" (arXiv 1703.01780).
    """

    def __init__(self, context: Context) -> None:
        """Creates the teacher, a copy of the network in `context`."""
        super().__init__()
        self.teacher = copy.deepcopy(context.model).requires_grad_(False)

    def forward(self, step: Step) -> Terms:
        """Updates the teacher with the network's last step, then computes the term."""
        options = step.options(MeanTeacherOptions)
        most = 1 - 1 / (step.number + 1) if options.decay_rampup else 1.0
        update_ema(self.teacher, step.model, min(options.decay, most))
        with torch.no_grad(), frozen_statistics(self.teacher):
            target_UK = self.teacher(step.weak_view()).assignments
        return {"consistency": functional.mse_loss(step.unlabeled_logits.softmax(dim=1), target_UK)}


class VatOptions(OptionsModel):
    """Options of `vat`."""

    epsilon: float = Field(6.0, gt=0)
    """L2 length of the perturbation of an image, above 0, in standardised pixels."""
    xi: float = Field(0.1, gt=0)
    """L2 length of the step that finds the perturbation's direction, above 0, in standardised pixels. The published
    value 1e-6 vanishes in fp32."""


@ALGORITHMS.register("vat", options=VatOptions, requires={"unlabeled"})
def vat(step: Step) -> Terms:
    """Virtual adversarial training: KL(p(x + r) || p(x)) for the direction r of length `epsilon` that changes
    the prediction most, found by one power iteration in fp32. Lengths are in units of standardised pixels.

    Source: Miyato et al. 2018, "Virtual adversarial training" (arXiv 1704.03976); the direction of the divergence is
    that of the published SuperCM code.
    """
    images, model, options = step.batch.unlabeled, step.model, step.options(VatOptions)
    noise = step.draws.normal(*images.shape)
    with frozen_statistics(model):
        with (
            torch.no_grad()
        ):  # a pass of the same samples, so that without a perturbation BatchNorm makes no difference
            clean_UK = model(images).logits
            reference_UK = _in_full_precision(model, images) if model.low_precision else clean_UK
        direction = _steepest(model, images, reference_UK, _unit(noise), options.xi)
        perturbed_UK = model(images + options.epsilon * direction * model.std).logits
    return {"consistency": _kl(perturbed_UK, clean_UK)}


def _in_full_precision(model: Classifier, images: Tensor) -> Tensor:
    """Computes logits in full precision, whose rounding is small compared with the step that finds the direction."""
    with model.full_precision():
        logits: Tensor = model(images).logits
    return logits


def _steepest(model: Classifier, images: Tensor, clean_UK: Tensor, start: Tensor, xi: float) -> Tensor:
    """Finds the unit direction along which the divergence from the clean prediction (in full precision) grows fastest,
    without gradient for training.
    """
    with torch.enable_grad(), model.full_precision():
        offset = (xi * start).requires_grad_()
        divergence = _kl(model(images + offset * model.std).logits, clean_UK)
        (gradient,) = torch.autograd.grad(divergence, offset)
    return _unit(gradient)


def _unit(images: Tensor) -> Tensor:
    """Divides each image by its own L2 norm."""
    return functional.normalize(images.flatten(1), eps=torch.finfo(images.dtype).tiny).view_as(images)


def _kl(logits_UK: Tensor, reference_UK: Tensor) -> Tensor:
    """Computes KL(softmax(logits) || softmax(reference)), the mean over samples."""
    log_p, log_q = logits_UK.log_softmax(dim=1), reference_UK.log_softmax(dim=1)
    return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
