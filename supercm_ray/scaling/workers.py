"""Runs the measurements of a scaling study; the only module of this package that uses an executor."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from supercm_ray.config import Budget, Study
from supercm_ray.data import Dataset
from supercm_ray.errors import DivergedError, StudyError
from supercm_ray.execution.phases import run_search
from supercm_ray.execution.place import Needs, Place
from supercm_ray.execution.recorder import NullCallback, Recorder
from supercm_ray.records import EpochMetrics, Ordered, StepTimings, StudyFolder, TimingMessage
from supercm_ray.runtime.ray_executor import RayExecutor, take_device, train_on_worker
from supercm_ray.runtime.room import workers_that_fit
from supercm_ray.runtime.worker_group import WorkerGroupRun, Workers
from supercm_ray.scaling.timing import TimingJob, time_job
from supercm_ray.training import Job

A = TypeVar("A")
M = TypeVar("M", bound=Ordered)

__all__ = [
    "Group",
    "RayExecutor",
    "TargetResult",
    "cluster_session",
    "room_for_trials",
    "room_for_workers",
    "search",
    "time_workers",
    "train_towards",
]


@dataclass(frozen=True)
class Group:
    """The workers of one measurement.

    Attributes:
        num_workers: number of workers.
        budget: CPUs and GPUs of each.
        spread: whether to place them on as many nodes as possible, instead of as few.
        left_out: ids of nodes that are not used.
    """

    num_workers: int
    budget: Budget
    spread: bool
    left_out: frozenset[str] = frozenset()

    @property
    def workers(self) -> Workers:
        """The workers to request from the executor."""
        return Workers(
            self.num_workers,
            use_gpu=self.budget.gpus_per_worker > 0,
            cpus_per_worker=self.budget.cpus_per_worker,
            placement="SPREAD" if self.spread else "PACK",
            left_out=self.left_out,
        )


@dataclass(frozen=True)
class TargetResult:
    """The result of a run to a target accuracy.

    Attributes:
        reached: whether its validation accuracy reached the target.
        seconds: time of its epochs in seconds, validation included.
        num_epochs: number of epochs trained.
    """

    reached: bool
    seconds: float
    num_epochs: int


@contextmanager
def cluster_session(needs: Needs) -> Iterator[tuple[RayExecutor, Place]]:
    """Connects to the cluster within the block, and returns its executor and the place."""
    executor = RayExecutor()
    with executor.session(needs) as place:
        yield executor, place


def room_for_workers(executor: RayExecutor, budget: Budget) -> int:
    """Returns how many workers fit the cluster at once, if nothing else runs."""
    return workers_that_fit(Group(1, budget, spread=False).workers.resources, executor.nodes)


def room_for_trials(executor: RayExecutor, budget: Budget, gpus_per_trial: float) -> int:
    """Returns how many trials with this many GPUs each fit the cluster at once."""
    try:
        return executor.capacity(
            budget.model_copy(update={"max_concurrent_trials": None, "gpus_per_worker": gpus_per_trial})
        )
    except StudyError:  # not even one does
        return 0


def time_workers(job: TimingJob, group: Group) -> tuple[float, StepTimings]:
    """Times steps on a group of workers. A single worker is a process of its own too, without
    DistributedDataParallel.

    Returns:
        Seconds from requesting the workers until their first step, and the timings.

    Raises:
        WorkersError: if the workers failed again and again.
    """
    asked = time.monotonic()
    startup_s, timings = 0.0, None
    with closing(_messages(_time_on_worker, job, group)) as messages:
        for message in messages:
            startup_s = startup_s or time.monotonic() - asked
            timings = message if isinstance(message, StepTimings) else timings
    assert timings is not None, "workers that end well have told their timings"
    return startup_s, timings


def train_towards(job: Job, target: float, group: Group, note: Callable[[EpochMetrics], None]) -> TargetResult:
    """Trains until the validation accuracy reaches a target, from the last checkpoint if there is one.

    Args:
        job: the run.
        target: accuracy, from 0 to 1.
        group: the workers that train.
        note: called with the metrics of each epoch.

    Returns:
        The result; a run that diverged did not reach the target.
    """
    seconds, num_epochs = 0.0, 0
    try:
        with closing(_messages(train_on_worker, job, group)) as messages:
            for message in messages:
                if not isinstance(message, EpochMetrics):
                    continue
                seconds, num_epochs = seconds + message.metrics["epoch_seconds"], message.epoch
                note(message)
                if message.metrics["val/accuracy"] >= target:
                    return TargetResult(True, seconds, num_epochs)
    except DivergedError:
        pass
    return TargetResult(False, seconds, num_epochs)


def search(executor: RayExecutor, study: Study, dataset: Dataset, path: Path) -> StudyFolder:
    """Searches a study from the beginning, without finalists, and returns the folder of its records.

    Args:
        executor: what runs the trials.
        study: the study, whose `budget.max_concurrent_trials` is the number of concurrent trials.
        dataset: its data set.
        path: a folder for its records; what an interrupted search has left there is deleted.
    """
    shutil.rmtree(path, ignore_errors=True)
    folder = StudyFolder.open(path.parent, path.name, study.identity())
    run_search(Recorder(study, folder, dataset, NullCallback(), lambda key: None), executor)
    return folder


def _messages(loop: Callable[[A], Iterator[M]], argument: A, group: Group) -> Generator[M]:
    """Runs a loop on the group's workers and yields the messages of the first one."""
    with WorkerGroupRun(loop, argument, group.workers, name="scale") as run:
        yield from run


def _time_on_worker(job: TimingJob) -> Iterator[TimingMessage]:
    """Times steps on one worker."""
    take_device()
    yield from time_job(job)
