"""Times the training loop's own step on each worker, whole and by part.

First come plain steps, exactly those of training, of which only the whole time is taken, by the slowest worker's clock
and with the device waited for at the end of each. Then come profiled steps, in which nothing overlaps and samples are
drawn independently of one another, as the gradient noise scale assumes. Data is the time until a batch is ready; before
each collective (the reduction of DDP's gradients, through a communication hook, and torch.distributed's all_reduce and
all_gather_into_tensor, through which all other sums of a step go) the workers meet, which is straggler wait, and only
then is the collective itself timed, which is communication; compute is the rest. The time of a meeting of workers who
are all there already is subtracted.
"""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from supercm_ray.config import Config
from supercm_ray.core import all_gather_object
from supercm_ray.data import Batch, Dataset, DeviceData, Splits, epoch_indices, independent_indices
from supercm_ray.records import Node, StepTimings, TimingMessage, TimingStarted
from supercm_ray.scaling.node import this_node
from supercm_ray.scaling.step_profile import StepProfile, profile_steps
from supercm_ray.scaling.stopwatch import device_time_s
from supercm_ray.training.job import prepare_process
from supercm_ray.training.loop import Draw, calibrate, epoch_batches, own_random_numbers, train_step
from supercm_ray.training.state import TrainState


@dataclass(frozen=True)
class TimingJob:
    """The inputs of a timing.

    Attributes:
        config: configuration whose batch sizes are those of all workers together.
        dataset: its data set.
        splits: its splits.
        warmup_steps: number of plain steps that are run first and not measured.
        num_steps: number of plain steps to measure, and of profiled steps after them.
    """

    config: Config
    dataset: Dataset
    splits: Splits
    warmup_steps: int = 5
    num_steps: int = 20


@dataclass(frozen=True)
class _WorkerTimings:
    """The timings of one worker."""

    step_s: list[float]
    utilisation: float | None
    peak_memory_bytes: int
    node: Node
    profile: StepProfile


def time_job(job: TimingJob) -> Iterator[TimingMessage]:
    """Times steps of a new run, in this process alone or on each of several workers.

    Yields:
        TimingStarted as the first step begins, then StepTimings, the same on all workers.
    """
    device = prepare_process(job.config)
    state = TrainState.create(job.config, job.dataset, device, len(job.splits.unlabeled))
    data = DeviceData.of(job.dataset, job.splits, device)
    calibrate(state, data)
    batches = endless_batches(state, data)
    yield TimingStarted()
    time_steps(state, batches, job.warmup_steps)
    started, cpu_started_s = time.perf_counter(), time.process_time()
    step_s = time_steps(state, batches, job.num_steps)
    cpu_share = (time.process_time() - cpu_started_s) / (time.perf_counter() - started) / torch.get_num_threads()
    own = _WorkerTimings(
        step_s,
        _gpu_utilisation(device) if device.type == "cuda" else cpu_share,
        _peak_memory_bytes(device),
        this_node(),
        profile_steps(state, endless_batches(state, data, independent_indices), job.num_steps),
    )
    yield _combined(all_gather_object(own), state)


def endless_batches(state: TrainState, data: DeviceData, draw: Draw = epoch_indices) -> Iterator[Batch]:
    """Yields the batches of one epoch after the other, by default as training draws them."""
    while True:
        with own_random_numbers(state):
            yield from epoch_batches(state, data, draw)


def time_steps(state: TrainState, batches: Iterator[Batch], num_steps: int) -> list[float]:
    """Trains some steps and returns the seconds of each on this worker."""
    times = []
    for _ in range(num_steps):
        started = time.perf_counter()
        train_step(state, next(batches))
        times.append(device_time_s(state.device) - started)
    return times


def _combined(workers: list[_WorkerTimings], state: TrainState) -> StepTimings:
    """Combines the timings of all workers."""
    profiles = [worker.profile for worker in workers]
    return StepTimings(
        step_s=tuple(map(max, zip(*(worker.step_s for worker in workers), strict=True))),
        labeled_samples=state.config.training.labeled_batch_size,
        unlabeled_samples=state.config.unlabeled_batch_size,
        data_s=_mean_s([profile.data_s for profile in profiles]),
        communication_s=_mean_s([profile.communication_s for profile in profiles]),
        straggler_wait_s=_mean_s([profile.straggler_wait_s for profile in profiles]),
        compute_s=_mean_s([profile.compute_s for profile in profiles]),
        peak_memory_bytes=max(worker.peak_memory_bytes for worker in workers),
        utilisation=_mean_utilisation([worker.utilisation for worker in workers]),
        gradient_bytes=_gradient_bytes(state),
        num_collectives=max(profile.num_collectives for profile in profiles),
        collective_bytes=max(profile.collective_bytes for profile in profiles),
        small_squares=tuple(map(statistics.fmean, zip(*(profile.own_squares for profile in profiles), strict=True))),
        big_squares=profiles[0].mean_squares,
        nodes=tuple(worker.node for worker in workers),
    )


def _mean_s(seconds: list[float]) -> float:
    """Returns the mean over workers; durations too short to measure can be below zero by chance and become zero."""
    return max(0.0, statistics.fmean(seconds))


def _mean_utilisation(shares: list[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return statistics.fmean(known) if len(known) == len(shares) else None


def _gradient_bytes(state: TrainState) -> int:
    trained = [parameter for parameter in state.step_loss.parameters() if parameter.requires_grad]
    return sum(math.prod(parameter.shape) * parameter.element_size() for parameter in trained)


def _peak_memory_bytes(device: torch.device) -> int:
    """Returns the bytes that PyTorch reserved on a GPU, or the resident memory of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _gpu_utilisation(device: torch.device) -> float | None:
    """Returns the fraction of the last moments in which the GPU computed, or None if its driver does not report it."""
    try:
        return float(torch.cuda.utilization(device)) / 100
    except (ImportError, RuntimeError):
        return None
