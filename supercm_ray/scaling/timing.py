"""What a step takes, and what of it: the training loop's own step, timed on each worker.

First plain steps, exactly those of training, of which only the whole time is taken, by the slowest worker's clock and
with the device waited for at the end of each. Then steps that are taken apart, and in which therefore nothing overlaps:
data is the time until a batch is there; before each collective (DDP's gradients, through a communication hook, and
torch.distributed's all_reduce and all_gather_into_tensor, through which all other sums of a step go) the workers meet,
which is waiting, and only then is the collective itself timed, which is communication; compute is the rest. What the
meeting of workers takes who are all there already counts as nothing.
"""

from __future__ import annotations

import math
import resource
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from supercm_ray.config import Config
from supercm_ray.core import all_gather_object
from supercm_ray.data import Batch, Dataset, DeviceData, Splits
from supercm_ray.scaling.stopwatch import Stopwatch, device_time_s
from supercm_ray.training.job import prepare_process
from supercm_ray.training.loop import epoch_batches, own_random_numbers, train_step
from supercm_ray.training.state import TrainState

FIGURES = "figures"
"""The key in the last message of `time_job`: what was measured, a mapping with the names of `scaling.Repetition`."""

_MOST = ("peak_memory_bytes", "num_collectives", "collective_bytes")
_PARTS = ("data_s", "communication_s", "waiting_s", "compute_s")


@dataclass(frozen=True)
class TimingJob:
    """What is timed.

    Attributes:
        config: whose batch sizes are those of all workers together.
        warmup_steps: plain steps run first and dropped.
        num_steps: plain steps measured, and then again steps taken apart.
    """

    config: Config
    dataset: Dataset
    splits: Splits
    warmup_steps: int = 5
    num_steps: int = 20


def time_job(job: TimingJob) -> Iterator[dict[str, Any]]:
    """Times steps of a fresh run, in this process alone or on each of several workers, and trains nothing of use.

    Yields:
        `epoch` 0 as the first step begins, then `epoch` 1 with FIGURES, on all workers the same.
    """
    device = prepare_process(job.config)
    state = TrainState.create(job.config, job.dataset, device, len(job.splits.unlabeled))
    batches = endless_batches(state, DeviceData.of(job.dataset, job.splits, device))
    yield {"epoch": 0}
    time_steps(state, batches, job.warmup_steps)
    began, worked = time.perf_counter(), time.process_time()
    steps_s = time_steps(state, batches, job.num_steps)
    busy = (time.process_time() - worked) / (time.perf_counter() - began)
    own = {
        "step_s": steps_s,
        "utilisation": _gpu_utilisation(device) if device.type == "cuda" else busy / torch.get_num_threads(),
        "peak_memory_bytes": _peak_memory(device),
        "node": socket.gethostname(),
        **take_apart(state, batches, job.num_steps),
    }
    training = job.config.training
    rows = {"labeled_samples": training.labeled_batch_size, "unlabeled_rows": training.unlabeled_batch_size}
    yield {"epoch": 1, FIGURES: {**rows, "gradient_bytes": _gradient_bytes(state), **_together(all_gather_object(own))}}


def endless_batches(state: TrainState, data: DeviceData) -> Iterator[Batch]:
    """The batches of one epoch after the other, as training draws them."""
    while True:
        with own_random_numbers(state):
            yield from epoch_batches(state, data)


def time_steps(state: TrainState, batches: Iterator[Batch], num_steps: int) -> list[float]:
    """Trains so many steps; seconds of each on this worker."""
    times = []
    for _ in range(num_steps):
        started = time.perf_counter()
        train_step(state, next(batches))
        times.append(device_time_s(state.device) - started)
    return times


def take_apart(state: TrainState, batches: Iterator[Batch], num_steps: int) -> dict[str, Any]:
    """Trains so many steps and one before that is dropped; seconds of a step by part, medians on this worker, the
    collectives of a step, and of each step the squared norms of this worker's gradient and of the mean over workers,
    where there are several.
    """
    watch = Stopwatch(state.device)
    if isinstance(state.step_loss, DistributedDataParallel):
        state.step_loss.register_comm_hook(None, lambda _, bucket: watch.reduce_gradients(bucket))
    steps = []
    with watch.watching():
        for _ in range(num_steps + 1):
            watch.clear()
            started = device_time_s(state.device)
            batch = next(batches)
            drawn = device_time_s(state.device)
            train_step(state, batch)
            rest_s = device_time_s(state.device) - drawn - watch.communication_s - watch.waiting_s - watch.aside_s
            steps.append((drawn - started, watch.communication_s, watch.waiting_s, rest_s, watch.squares()))
    *parts, squares = zip(*steps[1:], strict=True)
    found: dict[str, Any] = {name: statistics.median(part) for name, part in zip(_PARTS, parts, strict=True)}
    found |= {"num_collectives": watch.num_collectives, "collective_bytes": watch.num_bytes}
    several = distributed.is_initialized() and distributed.get_world_size() > 1
    small, big = zip(*squares, strict=True) if several else ((), ())
    return {**found, "small_squares": small, "big_squares": big}


def _together(workers: list[dict[str, Any]]) -> dict[str, Any]:
    """One repetition from what each worker found."""
    used = [one["utilisation"] for one in workers]
    known = [value for value in used if value is not None]
    return {
        "step_s": tuple(map(max, zip(*(one["step_s"] for one in workers), strict=True))),
        **{part: max(0.0, statistics.fmean(one[part] for one in workers)) for part in _PARTS},
        **{name: max(one[name] for one in workers) for name in _MOST},
        "utilisation": statistics.fmean(known) if len(known) == len(used) else None,
        "nodes": tuple(one["node"] for one in workers),
        "small_squares": tuple(map(statistics.fmean, zip(*(one["small_squares"] for one in workers), strict=True))),
        "big_squares": tuple(workers[0]["big_squares"]),
    }


def _gradient_bytes(state: TrainState) -> int:
    trained = [parameter for parameter in state.step_loss.parameters() if parameter.requires_grad]
    return sum(math.prod(parameter.shape) * parameter.element_size() for parameter in trained)


def _peak_memory(device: torch.device) -> int:
    """In bytes: what PyTorch reserved on a GPU, or what this process held in memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _gpu_utilisation(device: torch.device) -> float | None:
    """Share of the last moments in which the GPU computed, or None where its driver does not say."""
    try:
        return float(torch.cuda.utilization(device)) / 100
    except (ImportError, RuntimeError):
        return None
