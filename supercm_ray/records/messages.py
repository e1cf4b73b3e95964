"""What a run says on its way, from the training process to its record.

Every message says by `order` where it stands among those of its run, so that a run that begins again from a checkpoint
tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Arrays: TypeAlias = dict[str, npt.NDArray[np.generic]]


class Ordered(Protocol):
    """A message that has its place among those of its run."""

    @property
    def order(self) -> int:
        """Place among the messages of the run."""


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of an epoch.

    Attributes:
        epoch: number, from 1.
        metrics: numbers by name, such as `train/loss`, `val/accuracy` and `epoch_seconds`.
    """

    epoch: int
    metrics: Mapping[str, float]

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 2 * self.epoch


@dataclass(frozen=True)
class Predictions:
    """What a run predicts on the test split after its last epoch. N samples, D features, K classes.

    Attributes:
        epoch: the last one.
        accuracy: in [0, 1].
        loss: mean cross-entropy in nats.
        arrays: confusion (K, K), features (N, D), labels (N,), predictions (N,), centroids (K, D), seen (K,).
    """

    epoch: int
    accuracy: float
    loss: float
    arrays: Arrays

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 2 * self.epoch + 1

    @property
    def metrics(self) -> dict[str, float]:
        """The two numbers by name."""
        return {"test/accuracy": self.accuracy, "test/loss": self.loss}


@dataclass(frozen=True)
class RunFailed:
    """Why a run came to no result.

    Attributes:
        epoch: the last one done.
        reason: one line.
        by_process: whether its process failed, and not what it computed, so that it may be run again.
    """

    epoch: int
    reason: str
    by_process: bool = False

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 2 * self.epoch + 1


@dataclass(frozen=True)
class Node:
    """A machine, as far as it bears on speed.

    Attributes:
        name: host name.
        cpu: model of the processor, empty where unknown.
        num_cpus: logical processors that a worker's process may use.
        memory_bytes: main memory, 0 where unknown.
        gpus: models of the visible GPUs.
        system: operating system and its release, empty where unknown.
    """

    name: str
    cpu: str = ""
    num_cpus: int = 1
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()
    system: str = ""


@dataclass(frozen=True)
class TimingStarted:
    """The workers are there and begin the first step that is run for its timing."""

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 0


@dataclass(frozen=True)
class StepTimings:
    """What training steps take on a group of workers, the same on each of them. S measured steps, W workers.

    Attributes:
        step_s: seconds of each step (S,), by the slowest worker's clock.
        labeled_samples: labeled samples of a step, over all workers.
        unlabeled_samples: unlabeled samples of a step, over all workers.
        data_s: seconds until a batch is ready, median over steps and mean over workers, as for the other parts.
        communication_s: seconds in collectives once all workers are there.
        straggler_wait_s: seconds in which a worker waits for the slowest one to come to a collective.
        compute_s: seconds of the rest of the step.
        peak_memory_bytes: of the worker that takes most: reserved by PyTorch on a GPU, else the process's resident
            memory.
        utilisation: mean over workers of the share of processors (CPU) or time (GPU) with work; None where unknown.
        gradient_bytes: bytes that one reduction of all gradients carries.
        num_collectives: collectives of a step, 0 for one worker.
        collective_bytes: bytes that the collectives of a step carry together.
        small_squares: mean over workers of the squared norm of a worker's gradient, by step (S,); empty for one worker.
        big_squares: squared norm of the mean gradient, by step (S,); empty for one worker.
        nodes: the node of each worker (W,), by rank.
    """

    step_s: tuple[float, ...]
    labeled_samples: int
    unlabeled_samples: int
    data_s: float
    communication_s: float
    straggler_wait_s: float
    compute_s: float
    peak_memory_bytes: int
    utilisation: float | None
    gradient_bytes: int
    num_collectives: int
    collective_bytes: int
    small_squares: tuple[float, ...]
    big_squares: tuple[float, ...]
    nodes: tuple[Node, ...]

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 1


TimingMessage: TypeAlias = TimingStarted | StepTimings
Message: TypeAlias = EpochMetrics | Predictions | RunFailed
