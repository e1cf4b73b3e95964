"""The loop: one step, one epoch, one run. It yields results and does not know who listens."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from supercm_ray.algorithms import Step, Terms
from supercm_ray.core import clustering_loss, gaussian_ramp, supervised_loss, update_average
from supercm_ray.data import HIDDEN_LABEL, Batch, DeviceData, draw_batch, epoch_rows
from supercm_ray.errors import DivergedError
from supercm_ray.models import Outputs
from supercm_ray.training.evaluate import evaluate, predict
from supercm_ray.training.state import TrainState
from supercm_ray.training.validators import target_figures

_TARGET_ROWS = 2000


def fit(state: TrainState, data: DeviceData) -> Iterator[dict[str, float]]:
    """Trains from where `state` stands to the configured number of epochs.

    Yields:
        After each epoch its metrics, which are also the last of `state.history`: `epoch` (from 1), the means of
        the loss terms over the epoch (`train/...`), `val/accuracy` and `val/loss` of the moving average, and
        `epoch_seconds`. Between two yields the state may be saved.

    Raises:
        DivergedError: after an epoch whose mean loss is not finite.
    """
    while state.epoch < state.config.training.num_epochs:
        started = time.perf_counter()
        with _own_random_numbers(state):
            terms = train_epoch(state, data)
        if not math.isfinite(terms["loss"]):
            raise DivergedError(
                f"the training loss became {terms['loss']} in epoch {state.epoch + 1} of "
                f"{state.config.training.num_epochs}; lower training.learning_rate or algorithm.clustering_weight"
            )
        state.history.append(
            {
                "epoch": state.epoch + 1,
                **{f"train/{name}": value for name, value in terms.items()},
                **validate(state, data),
                "epoch_seconds": time.perf_counter() - started,
            }
        )
        yield state.history[-1]


@contextmanager
def _own_random_numbers(state: TrainState) -> Iterator[None]:
    """Has layers such as dropout, which draw from torch's global generators, draw by seed and step alone."""
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(state.config.seed * 1_000_003 + state.step)
        yield


def validate(state: TrainState, data: DeviceData) -> dict[str, float]:
    """Figures of the moving average by which a run may be judged and, with a target domain, `oracle/accuracy`, which
    nothing may be selected by. Those of the target come from at most 2000 of its unlabeled rows, evenly taken.
    """
    val = evaluate(state.average, data, data.val)
    figures = {"val/accuracy": val.accuracy, "val/loss": val.loss}
    if state.config.data.target is None:
        return figures
    rows = data.unlabeled[:: -(-len(data.unlabeled) // _TARGET_ROWS)]
    outputs = predict(state.average, data, rows)
    oracle = (outputs.logits.argmax(dim=1) == data.labels[rows]).double().mean().item()
    target = target_figures(outputs, state.centroids.value, state.centroids.seen)
    return {**figures, **target, "oracle/accuracy": oracle}


def train_epoch(state: TrainState, data: DeviceData) -> dict[str, float]:
    """Runs `steps_per_epoch` steps and returns the mean of each loss term; the device is read once, at the end."""
    training, generator = state.config.training, state.generator
    labeled = epoch_rows(data.labeled, training.steps_per_epoch, training.labeled_batch_size, generator)
    unlabeled = epoch_rows(data.unlabeled, training.steps_per_epoch, training.unlabeled_batch_size, generator)
    sums: dict[str, Tensor] = {}
    for rows, other_rows in zip(labeled, unlabeled, strict=True):
        terms = train_step(state, draw_batch(data, rows, other_rows, state.config, generator))
        sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
    means = torch.stack(list(sums.values())) / training.steps_per_epoch
    return dict(zip(sums, means.tolist(), strict=True))


def train_step(state: TrainState, batch: Batch) -> dict[str, Tensor]:
    """One optimizer step. Returns the detached terms and their weighted sum `loss`, scalars on the device."""
    algorithm = state.config.algorithm
    extra_pass = algorithm.centroid_source == "eval_pass" and algorithm.centroid_mode != "learned"
    if extra_pass:
        update_centroids(state, batch, _clean_outputs(state, batch))
    outputs: Outputs = state.model(torch.cat([batch.labeled, batch.unlabeled]))
    if not extra_pass:
        update_centroids(state, batch, outputs)

    num_labeled, num_rows = len(batch.labels), len(outputs.logits)
    over_all = algorithm.mean_over == "all_rows"
    supervised = supervised_loss(outputs.logits[:num_labeled], batch.labels) * (
        num_labeled / num_rows if over_all else 1
    )
    terms: Terms = state.algorithm(Step(state.model, batch, outputs, state.config, state.generator, state.progress))
    terms = {name: term * (1 - num_labeled / num_rows if over_all else 1) for name, term in terms.items()}
    clustering = clustering_loss(
        outputs.features,
        outputs.assignments,
        state.centroids.value,
        balance_alpha=algorithm.balance_alpha,
        seen=state.centroids.seen,
    )
    step = state.centroids.num_updates
    loss = (
        supervised + state.hyper.clustering_weight * gaussian_ramp(step, algorithm.clustering_warmup_steps) * clustering
    )
    for term in terms.values():
        loss = loss + state.hyper.consistency_weight * gaussian_ramp(step, algorithm.consistency_warmup_steps) * term

    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    state.step += 1
    update_average(state.average, state.model, _average_decay(state))
    return {
        name: term.detach()
        for name, term in {"loss": loss, "supervised": supervised, "clustering": clustering, **terms}.items()
    }


def update_centroids(state: TrainState, batch: Batch, outputs: Outputs) -> None:
    """Moves the centroids by outputs on labeled rows, and on unlabeled ones too where the mode takes them and they
    are predicted with confidence.
    """
    labels = batch.labels
    if state.config.algorithm.centroid_mode == "pseudo_labeled":
        confidence, predicted = outputs.assignments[len(labels) :].detach().max(dim=1)
        confident = confidence > state.config.algorithm.confidence_threshold
        labels = torch.cat([labels, predicted.where(confident, torch.full_like(predicted, HIDDEN_LABEL))])
    state.centroids.update(outputs.features[: len(labels)], labels)


@torch.no_grad()
def _clean_outputs(state: TrainState, batch: Batch) -> Outputs:
    """Outputs on the rows that the centroids follow, as they are, in eval mode, as evaluation will see them."""
    images = batch.labeled_clean
    if state.config.algorithm.centroid_mode == "pseudo_labeled":
        images = torch.cat([images, batch.unlabeled_clean])
    state.model.eval()
    outputs: Outputs = state.model(images)
    state.model.train()
    return outputs


def _average_decay(state: TrainState) -> float:
    """The decay of the average, less in the first steps, so that the start is soon forgotten."""
    return min(state.config.training.ema_decay, state.step / (state.step + 9))
