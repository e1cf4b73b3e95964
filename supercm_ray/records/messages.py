"""Messages from a run, from its training process to its record.

Every message has a position `order` among those of its run, so that a run restarted from a checkpoint is recorded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from supercm_ray.credentials import without_credentials

Arrays: TypeAlias = dict[str, npt.NDArray[np.generic]]


class Ordered(Protocol):
    """A message with a position among those of its run."""

    @property
    def order(self) -> int:
        """Position among the messages of the run."""


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
        """Position among the messages of the run."""
        return 3 * self.epoch


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run after its last epoch, where its process and the study do not share the storage.

    Attributes:
        epoch: the last epoch, from 1.
        files: content of each checkpoint by its file name.
    """

    epoch: int
    files: Mapping[str, bytes]

    @property
    def order(self) -> int:
        """Position among the messages of the run."""
        return 3 * self.epoch + 1


@dataclass(frozen=True)
class Predictions:
    """The predictions of a run on the test split, if there is one, after its last epoch. N samples, D features, K
    classes.

    Attributes:
        epoch: the last epoch, from 1.
        metrics: numbers by name, such as `test/accuracy`.
        arrays: val_confusion (K, K), that of the validation split; with a test split also confusion (K, K), features
            (N, D), labels (N,), predictions (N,), centroids (K, D) and seen (K,).
    """

    epoch: int
    metrics: Mapping[str, float]
    arrays: Arrays

    @property
    def order(self) -> int:
        """Position among the messages of the run."""
        return 3 * self.epoch + 2


@dataclass(frozen=True)
class RunFailed:
    """The failure of a run.

    Attributes:
        epoch: the last epoch done, from 1; 0 if there is none.
        reason: one line, in which credentials are hidden.
        by_process: whether its process failed, and not its computation, so that it may be run again.
        is_lost: whether the infrastructure took its process, such as a node that went away, which says nothing about
            the run.
        traceback: that of the worker, if there is one.
    """

    epoch: int
    reason: str
    by_process: bool = False
    is_lost: bool = False
    traceback: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", without_credentials(self.reason))

    @property
    def order(self) -> int:
        """Position among the messages of the run."""
        return 3 * self.epoch + 2


@dataclass(frozen=True)
class Node:
    """A machine, described as far as it affects speed.

    Attributes:
        name: host name.
        cpu: model of the processor, empty if unknown.
        num_cpus: logical processors that a worker's process may use.
        memory_bytes: main memory in bytes, 0 if unknown.
        gpus: models of the visible GPUs.
        system: operating system and its release, empty if unknown.
    """

    name: str
    cpu: str = ""
    num_cpus: int = 1
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()
    system: str = ""


@dataclass(frozen=True)
class TimingStarted:
    """The workers have started and begin the first step of a timing."""

    @property
    def order(self) -> int:
        """Position among the messages of the run."""
        return 0


@dataclass(frozen=True)
class StepTimings:
    """Timings of training steps on a group of workers, the same on each of them. S measured steps, W workers.

    Attributes:
        step_s: seconds of each step (S,), by the slowest worker's clock.
        labeled_samples: labeled samples of a step, over all workers.
        unlabeled_samples: unlabeled samples of a step, over all workers.
        data_s: seconds until a batch is ready, median over steps and mean over workers, as for the other parts.
        communication_s: seconds in collectives once all workers are there.
        straggler_wait_s: seconds in which a worker waits for the slowest one to come to a collective.
        compute_s: seconds of the rest of the step.
        peak_memory_bytes: largest memory of a worker: reserved by PyTorch on a GPU, else the process's resident memory.
        utilisation: mean over workers of the fraction of processors (CPU) or time (GPU) in use; None if unknown.
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
        """Position among the messages of the run."""
        return 1


TimingMessage: TypeAlias = TimingStarted | StepTimings
Message: TypeAlias = EpochMetrics | Checkpoints | Predictions | RunFailed
