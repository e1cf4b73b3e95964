"""The training loop: one step, one epoch, one run. It yields metrics and knows none of its callers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supercm_ray.algorithms import Terms
from supercm_ray.core import LearnedCentroids, all_reduce_sum, rank, update_ema, world_size
from supercm_ray.data import UNLABELED, Batch, DeviceData, draw_batch, epoch_indices
from supercm_ray.training.calibration import calibrate_batch_norm
from supercm_ray.training.closed_form import fit_head
from supercm_ray.training.divergence import check_start, diverged, diverged_parameters
from supercm_ray.training.evaluate import class_means, evaluate, predict
from supercm_ray.training.optimizers import clip_gradients, set_learning_rate
from supercm_ray.training.schedules import rate_factor
from supercm_ray.training.state import TrainState
from supercm_ray.training.validators import applicable, unlabeled_metrics

Draw = Callable[[Tensor, int, int, torch.Generator], Tensor]
"""How samples are drawn: a function like `epoch_indices`."""

_UNLABELED_SAMPLES = 2000
_CALIBRATION_SAMPLES = 256


def fit(state: TrainState, data: DeviceData) -> Iterator[dict[str, float]]:
    """Trains from the epoch that `state` has reached to the configured number of epochs.

    Yields:
        After each epoch its metrics, which are also the last of `state.history`: `epoch` (from 1), the means of
        the loss terms over the epoch (`train/...`), those of the moving average (`val/...` and others that
        `validate` returns), and `epoch_seconds`. Between two yields the state may be saved.

    Raises:
        DivergedError: if the outputs on the first batch are not finite, and after an epoch with a loss that is not.
    """
    closed_form = state.config.algorithm.closed_form
    if state.step == 0 and not closed_form:
        calibrate(state, data)
    while state.epoch < state.config.training.num_epochs:
        started = time.perf_counter()
        with own_random_numbers(state):
            terms = fit_head(state, data) if closed_form else train_epoch(state, data)
        _agree_on_statistics(state)
        measured = validate(state, data)
        if not math.isfinite(measured["val/loss"]):
            raise diverged_parameters(state.config, state.history, state.model)
        state.history.append(
            {
                "epoch": state.epoch + 1,
                **{f"train/{name}": value for name, value in terms.items()},
                **measured,
                "epoch_seconds": time.perf_counter() - started,
            }
        )
        yield state.history[-1]


@contextmanager
def own_random_numbers(state: TrainState) -> Iterator[None]:
    """Seeds torch's global generators, which layers such as dropout use, by seed, step and worker."""
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(state.config.seed * 1_000_003 + state.step + rank() * 1_000_000_007)
        yield


def calibrate(state: TrainState, data: DeviceData) -> None:
    """Sets the running statistics of BatchNorm to those of the first batches, since the centroids come from a pass in
    eval mode that precedes the first step's own. The batches are drawn without advancing the run's random generator.

    Raises:
        DivergedError: if the outputs on the first batch are not finite then.
    """
    generator = torch.Generator(state.device)
    generator.set_state(state.generator.get_state())
    num_batches = -(-_CALIBRATION_SAMPLES // state.config.batch_size)
    with own_random_numbers(state):
        batches = islice(epoch_batches(replace(state, generator=generator), data), num_batches)
        inputs = (torch.cat([batch.labeled, batch.unlabeled]) for batch in batches)
        first = next(inputs)
        calibrate_batch_norm(state.model, chain([first], inputs))
    _agree_on_statistics(state)
    update_ema(state.ema_model, state.model, decay=0.0)
    check_start(state.ema_model, first, state.config)


@torch.no_grad()
def _agree_on_statistics(state: TrainState) -> None:
    """Averages the running statistics of BatchNorm over the workers if each has normalised by its own samples."""
    if world_size() == 1 or state.config.training.sync_batch_norm:
        return
    for module in nn.ModuleList([state.model, state.ema_model, state.algorithm]).modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.copy_(all_reduce_sum(module.running_mean) / world_size())
            module.running_var.copy_(all_reduce_sum(module.running_var) / world_size())


def validate(state: TrainState, data: DeviceData) -> dict[str, float]:
    """Evaluates the moving average: the metrics that may select a run and, with a target domain some of whose
    unlabeled samples have a known label, `oracle/accuracy` over these, which may not. Validators are computed from at
    most 2000 unlabeled samples and from centroids that are learned, or class means of at most as many labeled samples
    under the moving average.
    """
    val = evaluate(state.ema_model, data, data.val)
    metrics = val.metrics("val")
    has_target = state.config.data.target is not None
    if not applicable(has_target=has_target):
        return metrics
    indices = data.unlabeled[:: max(1, -(-len(data.unlabeled) // _UNLABELED_SAMPLES))]
    outputs = predict(state.ema_model, data, indices)
    is_learned = isinstance(state.centroids, LearnedCentroids)
    learned = (state.centroids.value, state.centroids.seen)
    centroids, seen = learned if is_learned else class_means(state.ema_model, data, _UNLABELED_SAMPLES)
    measured = unlabeled_metrics(outputs, centroids, seen, has_target=has_target)
    labels = data.labels[indices]
    known = (labels != UNLABELED) & ~torch.isin(indices, data.test)  # transductive test samples stay closed
    if not has_target or not known.any():
        return {**measured, **metrics}
    oracle = (outputs.logits.argmax(dim=1) == labels)[known].double().mean().item()
    return {**measured, **metrics, "oracle/accuracy": oracle}


def train_epoch(state: TrainState, data: DeviceData) -> dict[str, float]:
    """Runs `steps_per_epoch` steps and returns the mean of each loss term; the device is read once, at the end.

    Raises:
        DivergedError: if the loss of a step is not finite.
    """
    steps = [train_step(state, batch) for batch in epoch_batches(state, data)]
    terms_ST = torch.stack([torch.stack(list(terms.values())) for terms in steps]).double()
    means_T = all_reduce_sum(terms_ST.mean(dim=0)) / world_size()
    means = dict(zip(steps[0], means_T.tolist(), strict=True))
    if not math.isfinite(means["loss"]):
        over_workers = (all_reduce_sum(terms_ST) / world_size()).tolist()
        raise diverged(state.config, [dict(zip(means, terms, strict=True)) for terms in over_workers], state.history)
    return means


def epoch_batches(state: TrainState, data: DeviceData, draw: Draw = epoch_indices) -> Iterator[Batch]:
    """Yields the batches of an epoch, each drawn when it is requested, of the samples that `draw` gives."""
    training, generator = state.config.training, state.generator
    labeled = draw(data.labeled, training.steps_per_epoch, training.labeled_batch_size, generator)
    unlabeled = draw(data.unlabeled, training.steps_per_epoch, state.config.unlabeled_batch_size, generator)
    data.expect(torch.cat([labeled, unlabeled], dim=1))
    for indices, unlabeled_indices in zip(labeled, unlabeled, strict=True):
        yield draw_batch(data, indices, unlabeled_indices, state.config, generator)


def train_step(state: TrainState, batch: Batch) -> Terms:
    """Runs one optimizer step. Returns the detached terms and their weighted sum `loss`, scalars on the device; on
    several workers each worker's own, whose mean over the workers is the batch's.
    """
    terms: Terms = state.step_loss(batch, state.progress)
    state.optimizer.zero_grad()
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    training = state.config.training
    if training.clip_grad_norm is not None:
        clip_gradients(state.optimizer, training.clip_grad_norm)
    set_learning_rate(state.optimizer, rate_factor(training, state.step))
    state.optimizer.step()
    state.step += 1
    update_ema(state.ema_model, state.model, _ema_decay(state))
    return {name: term.detach() for name, term in terms.items()}


def _ema_decay(state: TrainState) -> float:
    """Returns the decay of the moving average; under `ema_warmup` it is smaller in the first steps."""
    training = state.config.training
    return min(training.ema_decay, state.step / (state.step + 9)) if training.ema_warmup else training.ema_decay
