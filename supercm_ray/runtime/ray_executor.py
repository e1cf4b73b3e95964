"""The Ray executor: trials run under Ray Tune, the workers of one run under Ray Train."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from supercm_ray.config import Budget
from supercm_ray.errors import StorageError, StudyError, WorkersError
from supercm_ray.execution.executor import Phase, RunQueue
from supercm_ray.records import Message
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.cluster_watch import ClusterWatch
from supercm_ray.runtime.placement import placed
from supercm_ray.runtime.room import processes_that_fit
from supercm_ray.runtime.worker_group import TRIAL_RESOURCES, WorkerGroupRun, Workers, groups_that_fit
from supercm_ray.training import Job, train_job


class RayExecutor:
    """Trains on the Ray cluster that RAY_ADDRESS names, or on a cluster of this machine alone."""

    def __init__(self, *, is_in_trial: bool = False) -> None:
        """Creates the executor.

        Args:
            is_in_trial: whether it runs in the process of a trial, which waits for the room for its workers.
        """
        self._stopping, self._is_in_trial = threading.Event(), is_in_trial

    def session(self, budget: Budget) -> AbstractContextManager[None]:
        """Connects to Ray for the duration of the block."""
        return ray_session()

    def capacity(self, budget: Budget) -> int:
        """Returns the number of trials that fit the cluster at once, within the budget.

        Raises:
            StudyError: if not even one fits, instead of waiting for ever.
        """
        workers = workers_of(budget)
        room = processes_that_fit(budget) if workers is None else groups_that_fit(workers)
        return min(room, budget.max_concurrent_trials or room)

    def run(self, job: Job, budget: Budget) -> Generator[Message]:
        """Runs the job on the workers that the budget asks for, or in this process if there is one."""
        workers = workers_of(budget)
        if workers is None:
            yield from train_job(job)
            return
        try:
            with WorkerGroupRun(
                train_on_worker, job, replace(workers, wait_for_room=self._is_in_trial), name="run"
            ) as group:
                yield from group
        except WorkersError as error:
            _, of_storage, reason = str(error).partition(f"{StorageError.__name__}: ")
            if of_storage:
                raise StorageError(reason) from error
            raise

    def run_all(self, phase: Phase, queue: RunQueue) -> None:
        """Runs a phase under Ray Tune."""
        from supercm_ray.runtime.tune_run import run_phase  # seconds of imports, which a single run does not need

        self._stopping.clear()
        budget = phase.study.budget
        self.capacity(budget)
        run_phase(
            phase,
            queue,
            executor=RayExecutor(),
            resources=placed(trial_resources(budget), frozenset()),
            watch=ClusterWatch(lambda: self._room(budget)),
            stopping=self._stopping,
        )

    def _room(self, budget: Budget) -> int:
        """Returns the number of trials that fit the cluster now, which may be none."""
        try:
            return self.capacity(budget)
        except StudyError:
            return 0

    def stop(self) -> None:
        """Makes Tune's loop end at its next round."""
        self._stopping.set()

    def __getstate__(self) -> dict[str, object]:
        """Returns no state: a copy is that of a trial."""
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(is_in_trial=True)  # type: ignore[misc]


def workers_of(budget: Budget) -> Workers | None:
    """Returns the workers of a run, or None if its process is the only one."""
    if budget.worker_range == (1, 1):
        return None
    return Workers(
        budget.num_workers,
        use_gpu=budget.gpus_per_worker > 0,
        cpus_per_worker=budget.cpus_per_worker,
        max_failures=budget.max_failures,
    )


def trial_resources(budget: Budget) -> dict[str, float]:
    """Returns what Tune reserves for the process of a trial, which itself asks for its workers."""
    if workers_of(budget) is not None:
        return TRIAL_RESOURCES
    return {"CPU": budget.cpus_per_worker, "GPU": budget.gpus_per_worker}


def train_on_worker(job: Job) -> Iterator[Message]:
    """Trains the job on one worker."""
    take_device()
    yield from train_job(job)


def take_device() -> None:
    """Makes this worker compute on the GPU that Ray assigned to it, if any."""
    if torch.cuda.is_available():
        from ray.train.torch import get_device  # only workers have one

        torch.cuda.set_device(get_device())
