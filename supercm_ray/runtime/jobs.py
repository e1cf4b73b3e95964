"""A run of a study as a job, and where it is done: in this process, or on workers of its own."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from typing import Any

import torch

from supercm_ray.config import Config
from supercm_ray.data import Dataset, Splits
from supercm_ray.errors import WorkersError
from supercm_ray.records import RunFolder, StudyFolder
from supercm_ray.runtime.cluster import processes_that_fit
from supercm_ray.runtime.worker_group import TRIAL_RESOURCES, WorkerGroupRun, Workers, groups_that_fit
from supercm_ray.study import Budget
from supercm_ray.training import OUTCOME, Job, train_job


def job_of(
    folder: StudyFolder,
    key: str,
    config: Config,
    dataset: Dataset,
    *,
    open_test: bool,
    best_by: tuple[str, str] | None = None,
) -> Job:
    """The job of the run with this key, whose splits lie in its folder."""
    storage = folder.storage(key, config.training.storage_path)
    return Job(config, dataset, Splits.load(folder.run(key).splits), storage, best_by=best_by, open_test=open_test)


def run_job(job: Job, budget: Budget, run: RunFolder) -> Generator[dict[str, Any]]:
    """Does the job where the budget says, in this process or on several workers, and yields what `train_job` does.
    Closing it ends the run and frees all. Where workers fail for good, their own account is kept in the run's folder.
    """
    workers = workers_of(budget)
    if workers is None:
        yield from train_job(job)
        return
    rays_own = run.path.resolve() / "ray"
    try:
        with WorkerGroupRun(train_on_worker, job, workers, name="run", storage=rays_own) as group:
            yield from group
    except WorkersError as error:
        run.save_traceback(error.worker_traceback)
        raise
    finally:
        shutil.rmtree(rays_own, ignore_errors=True)  # it holds nothing of use


def keep_outcome(message: dict[str, Any], run: RunFolder) -> None:
    """Takes the arrays that were found on the test split out of a message, where it has any, and saves them."""
    if OUTCOME in message:
        run.save_outcome(message.pop(OUTCOME))


def workers_of(budget: Budget) -> Workers | None:
    """The workers that a run has, or None where its process is the only one."""
    if budget.worker_range == (1, 1):
        return None
    return Workers(
        budget.num_workers,
        use_gpu=budget.gpus_per_worker > 0,
        cpus_per_worker=budget.cpus_per_worker,
        max_failures=budget.max_failures,
    )


def trial_resources(budget: Budget) -> dict[str, float]:
    """What Tune reserves for the process of a trial; workers of its own it asks for itself."""
    if workers_of(budget) is not None:
        return TRIAL_RESOURCES
    return {"CPU": budget.cpus_per_worker, "GPU": budget.gpus_per_worker}


def trials_at_once(budget: Budget) -> int:
    """Trials that fit the cluster at once, within what the budget allows.

    Raises:
        StudyError: where not even one fits, instead of waiting for ever.
    """
    workers = workers_of(budget)
    room = processes_that_fit(budget) if workers is None else groups_that_fit(workers)
    return min(room, budget.max_concurrent_trials or room)


def train_on_worker(job: Job) -> Iterator[dict[str, Any]]:
    """What each worker of a run does."""
    take_device()
    yield from train_job(job)


def take_device() -> None:
    """Has this worker compute on the GPU that Ray gave it, where it has one."""
    if torch.cuda.is_available():
        from ray.train.torch import get_device  # only workers have one

        torch.cuda.set_device(get_device())
