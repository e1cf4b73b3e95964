"""Times the parts of a training step on one worker."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from supercm_ray.data import Batch
from supercm_ray.scaling.stopwatch import Stopwatch, device_time_s
from supercm_ray.training.loop import train_step
from supercm_ray.training.state import TrainState


@dataclass(frozen=True)
class StepProfile:
    """The parts of a step on one worker. S profiled steps.

    Attributes:
        data_s: seconds until a batch is ready, median over steps, as are the other parts.
        communication_s: seconds in collectives once all workers have reached them.
        straggler_wait_s: seconds of waiting for the slowest worker to reach them.
        compute_s: seconds of everything else.
        num_collectives: collectives of a step.
        collective_bytes: bytes that they carry together.
        own_squares: squared norm of this worker's gradient, by step (S,); empty for one worker.
        mean_squares: squared norm of the mean gradient of all workers, by step (S,); empty for one worker.
    """

    data_s: float
    communication_s: float
    straggler_wait_s: float
    compute_s: float
    num_collectives: int
    collective_bytes: int
    own_squares: tuple[float, ...]
    mean_squares: tuple[float, ...]


@dataclass(frozen=True)
class StepParts:
    """The parts of one step on this worker, in seconds, and the result of `Stopwatch.squares`."""

    data_s: float
    communication_s: float
    straggler_wait_s: float
    compute_s: float
    squares: tuple[float, float]


def profile_steps(state: TrainState, batches: Iterator[Batch], num_steps: int) -> StepProfile:
    """Trains some steps, after one that is not measured, and returns their parts on this worker."""
    watch = Stopwatch(state.device)
    if isinstance(state.step_loss, DistributedDataParallel):
        state.step_loss.register_comm_hook(None, lambda _, bucket: watch.reduce_gradients(bucket))
    with watch.watching():
        steps = [profile_step(state, batches, watch) for _ in range(num_steps + 1)][1:]
    several = distributed.is_initialized() and distributed.get_world_size() > 1
    squares = [step.squares for step in steps] if several else []
    return StepProfile(
        statistics.median(step.data_s for step in steps),
        statistics.median(step.communication_s for step in steps),
        statistics.median(step.straggler_wait_s for step in steps),
        statistics.median(step.compute_s for step in steps),
        watch.num_collectives,
        watch.num_bytes,
        tuple(own for own, _ in squares),
        tuple(mean for _, mean in squares),
    )


def profile_step(state: TrainState, batches: Iterator[Batch], watch: Stopwatch) -> StepParts:
    """Trains one step with its collectives timed."""
    watch.clear()
    started = device_time_s(state.device)
    batch = next(batches)
    drawn = device_time_s(state.device)
    train_step(state, batch)
    whole_s = device_time_s(state.device) - drawn
    compute_s = whole_s - watch.communication_s - watch.straggler_wait_s - watch.overhead_s
    return StepParts(drawn - started, watch.communication_s, watch.straggler_wait_s, compute_s, watch.squares())
