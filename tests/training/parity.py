"""Five steps of every algorithm in float64, as one worker of several or as a single process; test_parity.py compares.

`python parity.py RANK WORKERS STORE OUT` writes what this worker computed, case by case, to OUT. Two workers also
compute what they would come to with each of several mistakes in the code.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

import supercm_ray.core.centroids
import supercm_ray.core.clustering
from supercm_ray.algorithms import ALGORITHMS, flexmatch, freematch, softmatch
from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.core import RunningCentroids, all_reduce_sum, class_sums, rank, world_size
from supercm_ray.data import Dataset, DeviceData, draw_batch, make_splits
from supercm_ray.training import TrainState, fit, state, train_step
from supercm_ray.training.loop import calibrate

sys.path.append(str(Path(__file__).parents[2] / "examples"))
import flexmatch_plugin  # noqa: F401 (registers an algorithm)

WHOLE_EPOCHS = "whole epochs"
NUM_STEPS, NUM_LABELED, NUM_UNLABELED = 5, 6, 12
BASE = Config(
    seed=3,
    data=DataConfig(labels_per_class=3, shift_pixels=1, flip=True, noise_std=0.1),
    model=ModelConfig(options={"channels": (4, 8)}),
    training=TrainingConfig(
        labeled_batch_size=NUM_LABELED, unlabeled_batch_size=NUM_UNLABELED, num_epochs=2, device="cpu"
    ),
).replace(
    {
        "algorithm.centroid_threshold": 0.35,
        "algorithm.balance_alpha": 1.3,
        "data.target": {"name": "digits_odd_blurred"},  # which algorithms for it ask for; the data have none
    }
)
CLOSED_FORM = [name for name, entry in ALGORITHMS.entries().items() if "fixed_features" in entry.requires]
TRAINED = sorted(set(ALGORITHMS.names()) - set(CLOSED_FORM))
OPTIONS: dict[str, dict[str, Any]] = {
    "pseudo_label": {"algorithm.options.threshold": 0.35},
    "fixmatch": {"algorithm.options.threshold": 0.35},
    "flexmatch": {"algorithm.options.threshold": 0.35},
    "my_flexmatch": {"algorithm.options.threshold": 0.35},
    "freematch": {"algorithm.options.decay": 0.9, "algorithm.options.fairness_weight": 0.5},
    "softmatch": {"algorithm.options.decay": 0.9},
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"algorithm.name": name, **OPTIONS.get(name, {})} for name in TRAINED},
    "cdan_without_entropy": {"algorithm.name": "cdan", "algorithm.options.entropy_conditioning": False},
    "centroids_of_the_batch": {"algorithm.centroid_source": "batch", "algorithm.centroid_rule": "ema"},
    "class_count": {"algorithm.name": "fixmatch", **OPTIONS["fixmatch"], "algorithm.centroid_rule": "class_count"},
    "pseudo_labeled": {"algorithm.name": "vat", "algorithm.centroid_mode": "pseudo_labeled"},
    "learned": {"algorithm.name": "dann", "algorithm.centroid_mode": "learned"},
    "over_all_samples": {"algorithm.name": "pi_model", "algorithm.loss_reduction": "all_samples"},
    "mlp": {"algorithm.name": "mcc", "model.name": "mlp"},
    "wide_resnet": {"algorithm.name": "supervised", "model.name": "wrn_28_2"},
    "recipe": {
        "algorithm.name": "fixmatch",
        **OPTIONS["fixmatch"],
        "data.crop_scale": 0.5,
        "data.shift_padding": "reflect",
        "data.strong.name": "randaugment",
        "data.strong.options.random_magnitude": True,
        "training.optimizer.name": "sgd",
        "training.optimizer.options.momentum": 0.9,
        "training.optimizer.options.nesterov": True,
        "training.schedule.name": "usb_cosine",
        "training.warmup_steps": 2,
        "training.clip_grad_norm": 0.3,
        "training.weight_decay": 0.01,
        "training.decay_norms_and_biases": False,
        "training.backbone_learning_rate_factor": 0.5,
        "model.bottleneck": 6,
    },
    "frozen": {  # Adam would make steps of the rounding errors that are the gradient of a bias before BatchNorm
        "algorithm.name": "mean_teacher",
        "model.frozen": True,
        "model.bottleneck": 6,
        "training.optimizer.name": "sgd",
    },
}


def dataset() -> Dataset:
    """Noisy 8x8 images of four classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    patterns = rng.integers(0, 200, (4, 1, 8, 8))
    images = (patterns[labels] + rng.integers(0, 56, (len(labels), 1, 8, 8))).astype(np.uint8)
    return Dataset("toy", images, labels, tuple("abcd"), (0.4,), (0.3,))


def labeled_samples(data: DeviceData, step: int) -> Tensor:
    """Samples sorted by class, many of one class and none of another: workers see classes in unequal counts."""
    common, *others = [(step + i) % 4 for i in range(3)]
    by_class = [data.labeled[data.labels[data.labeled] == k] for k in range(4)]
    return torch.cat([by_class[common].repeat(2)[:4], *(by_class[other][:1] for other in others)])


def run(overrides: dict[str, Any]) -> dict[str, Tensor]:
    """What the steps come to: loss terms, gradients and centroids by step, and the whole state after the last."""
    config = BASE.replace(overrides)
    toy, cpu = dataset(), torch.device("cpu")
    data = DeviceData.of(toy, make_splits(toy.labels, config.data, config.seed), cpu)
    data = dataclasses.replace(data, images=data.images.double() / 255)
    one = TrainState.create(config, toy, cpu, len(data.unlabeled))
    found = {}
    for step in range(NUM_STEPS):
        indices = labeled_samples(data, step)
        others = data.unlabeled[step * NUM_UNLABELED : (step + 1) * NUM_UNLABELED]
        own = [part.view(world_size(), -1)[rank()] for part in (indices, others)]
        terms = train_step(one, draw_batch(data, *own, config, one.generator))
        found |= {f"{step}/{name}": all_reduce_sum(term) / world_size() for name, term in terms.items()}
        found[f"{step}/centroids"] = one.centroids.value.detach().clone()
        parts = {"model": one.model, "algorithm": one.algorithm, "centroids": one.centroids}
        for part, module in parts.items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    assert parameter.grad is not None
                    found[f"{step}/gradient/{part}.{name}"] = parameter.grad.clone()
    for part in ("model", "ema_model", "algorithm", "centroids"):
        found |= {f"end/{part}.{name}": value for name, value in getattr(one, part).state_dict().items()}
    return found


def whole_epochs() -> dict[str, Tensor]:
    """The buffers before the first step and the metrics of two epochs, whose batches and evaluations are shared out as
    in training.
    """
    toy, cpu = dataset(), torch.device("cpu")
    config = BASE.replace({"training.steps_per_epoch": 3})
    data = DeviceData.of(toy, make_splits(toy.labels, config.data, config.seed), cpu)
    data = dataclasses.replace(data, images=data.images.double() / 255)
    fresh, one = (TrainState.create(config, toy, cpu) for _ in range(2))
    calibrate(fresh, data)
    return {f"0/{name}": value for name, value in fresh.ema_model.named_buffers()} | {
        f"{metrics['epoch']}/{name}": torch.tensor(value)
        for metrics in fit(one, data)
        for name, value in metrics.items()
        if name != "epoch_seconds"
    }


def fitted(name: str) -> dict[str, Tensor]:
    """The metrics and the state of an algorithm that fits the head at once."""
    toy, cpu = dataset(), torch.device("cpu")
    fixed = {"model.name": "identity", "training.num_epochs": 1, "algorithm.clustering_weight": 0.0}
    config = BASE.replace({"algorithm.name": name, **fixed})
    data = DeviceData.of(toy, make_splits(toy.labels, config.data, config.seed), cpu)
    data = dataclasses.replace(data, images=data.images.double() / 255)
    one = TrainState.create(config, toy, cpu, len(data.unlabeled))
    (metrics,) = fit(one, data)
    numbers = {key: torch.tensor(value) for key, value in metrics.items() if key != "epoch_seconds"}
    return (
        numbers
        | dict(one.ema_model.state_dict())
        | {f"centroids.{k}": v for k, v in one.centroids.state_dict().items()}
    )


def mean_of_means(self: RunningCentroids, features: Tensor, labels: Tensor) -> None:
    """A mistake: each worker's class means, averaged."""
    sums_KD, counts_K = class_sums(features, labels, len(self.value))
    present_K = all_reduce_sum((counts_K > 0).to(sums_KD.dtype))
    means_KD = all_reduce_sum(sums_KD / counts_K.clamp_min(1).unsqueeze(1)) / present_K.clamp_min(1).unsqueeze(1)
    self.update_from_sums(means_KD, present_K.clamp_max(1))


def broadcasting(module: torch.nn.Module, **options: Any) -> DistributedDataParallel:
    """A mistake: DDP's default, which gives all workers the buffers of the first."""
    return DistributedDataParallel(module)


Mistake = tuple[object, str, object]
MUTATIONS: dict[str, tuple[tuple[str, ...], tuple[Mistake, ...]]] = {
    "mean_of_means": (("supervised",), ((RunningCentroids, "update", mean_of_means),)),
    "broadcast_centroids": (
        ("supervised",),
        (
            (supercm_ray.core.centroids, "all_reduce_sum", lambda values: values),
            (state, "DistributedDataParallel", broadcasting),
        ),
    ),
    "own_prior": (
        ("supervised",),
        ((supercm_ray.core.clustering, "all_reduce_logsumexp", lambda values: values + math.log(world_size())),),
    ),
    "own_batch_norm": (("supervised",), ((state, "synchronise_batch_norm", lambda model: None),)),
    "own_record": (("flexmatch",), ((flexmatch, "all_gather", lambda values, num_samples: values),)),
    "own_averages": (
        ("freematch", "softmatch"),
        (
            (freematch, "all_reduce_sum", lambda values: values * world_size()),
            (softmatch, "all_reduce_sum", lambda values: values * world_size()),
        ),
    ),
}
"""Mistakes in the code under test, each with the cases in which it shows and what it puts in whose place."""


def run_mutated(mutation: str) -> dict[str, dict[str, Tensor]]:
    """What the cases come to in which a mistake shows, with the mistake."""
    cases, mistakes = MUTATIONS[mutation]
    with ExitStack() as stack:
        for owner, name, mistake in mistakes:
            stack.enter_context(patch.object(owner, name, mistake))
        return {f"{mutation}/{case}": run(CASES[case]) for case in cases}


def main(rank: str, workers: str, store: str, out: str) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    if int(workers) > 1:
        distributed.init_process_group("gloo", f"file://{store}", rank=int(rank), world_size=int(workers))
    found = {name: run(overrides) for name, overrides in CASES.items()}
    for mutation in MUTATIONS if int(workers) == 2 else ():
        found |= run_mutated(mutation)
    found |= {name: fitted(name) for name in CLOSED_FORM}
    torch.save({**found, WHOLE_EPOCHS: whole_epochs()}, out)
    if int(workers) > 1:
        distributed.destroy_process_group()
        os._exit(0)  # threads of gloo may still let go of tensors, which aborts an interpreter that is ending


if __name__ == "__main__":
    main(*sys.argv[1:])
