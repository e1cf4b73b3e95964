"""The Ray executor: trials run under Ray Tune, the workers of one run under Ray Train."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import ray
import torch

from supercm_ray.config import Budget
from supercm_ray.errors import StorageError, StudyError, WorkersError
from supercm_ray.execution.executor import Phase, RunQueue
from supercm_ray.execution.place import Needs, Place
from supercm_ray.records import Message
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.cluster_watch import Check, ClusterWatch
from supercm_ray.runtime.nodes import Node, alive_nodes, where
from supercm_ray.runtime.preflight import Question, unfit_nodes
from supercm_ray.runtime.room import processes_that_fit, wait_for_room
from supercm_ray.runtime.shipping import code_to_ship
from supercm_ray.runtime.worker_group import TRIAL_RESOURCES, WorkerGroupRun, Workers, groups_that_fit
from supercm_ray.training import Job, train_job

logger = logging.getLogger(__name__)


class RayExecutor:
    """Trains on a Ray cluster (see `joining` for which), or on one of this machine alone."""

    def __init__(self, *, left_out: frozenset[str] = frozenset(), is_in_trial: bool = False) -> None:
        """Creates the executor.

        Args:
            left_out: ids of nodes that are not to be used, besides those that its session finds not to be fit.
            is_in_trial: whether it runs in the process of a trial, which waits for the room for its workers.
        """
        self._left_out, self._is_in_trial = left_out, is_in_trial
        self._stopping = threading.Event()
        self._watch: ClusterWatch | None = None

    @classmethod
    def in_trial(cls, left_out: frozenset[str]) -> RayExecutor:
        """Returns an executor for the process of a trial."""
        return cls(left_out=left_out, is_in_trial=True)

    @contextmanager
    def session(self, needs: Needs) -> Iterator[Place]:
        """Connects to Ray for the duration of the block, checks the nodes, and waits for them as the needs say."""
        with ray_session(code_to_ship(needs.plugins, ship_code=needs.cluster.ship_code)):
            question = Question(needs.plugins, needs.images, needs.storage)

            def check(nodes: Sequence[Node], ended: threading.Event) -> Mapping[str, str]:
                return unfit_nodes(question, needs.cluster, logger.warning, nodes, is_over=ended)

            self._watch = watch = _watch(check, needs)
            try:
                with watch.watching():
                    wait_for_room(
                        lambda: self.nodes,
                        lambda: self.capacity(needs.budget),
                        _bundles(needs.budget),
                        needs.cluster,
                        logger.warning,
                    )
                    yield Place(where(self.left_out), watch.described())
            finally:
                self._watch = None

    @property
    def left_out(self) -> frozenset[str]:
        """Ids of nodes that are not to be used at the moment."""
        return self._left_out | (self._watch.left_out if self._watch else frozenset())

    def capacity(self, budget: Budget) -> int:
        """Returns the number of trials that fit the cluster at once, within the budget.

        Raises:
            StudyError: if not even one fits, instead of waiting for ever.
        """
        workers, nodes = workers_of(budget), self.nodes
        room = processes_that_fit(budget, nodes) if workers is None else groups_that_fit(workers, nodes)
        return min(room, budget.max_concurrent_trials or room)

    def run(self, job: Job, budget: Budget) -> Generator[Message]:
        """Runs the job on the workers that the budget asks for, or in this process if there is one."""
        workers = workers_of(budget)
        if workers is None:
            yield from train_job(job)
            return
        workers = replace(workers, left_out=self.left_out, wait_for_room=self._is_in_trial)
        try:
            with WorkerGroupRun(train_on_worker, job, workers, name="run") as group:
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

        def room() -> int:
            if self._stopping.is_set():
                raise KeyboardInterrupt
            try:
                return self.capacity(budget)
            except StudyError:
                return 0

        run_phase(
            phase,
            queue,
            make_executor=RayExecutor.in_trial,
            resources=_resources(budget),
            room=room,
            left_out=lambda: self.left_out,
        )

    def stop(self) -> None:
        """Makes Tune's loop end at its next round."""
        self._stopping.set()

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes that are used, as they were when the cluster answered last."""
        return self._watch.nodes if self._watch else alive_nodes(self._left_out)


def _watch(check: Check, needs: Needs) -> ClusterWatch:
    """Returns the watch over the cluster that this process is connected to, whose nodes it checks first."""
    from supercm_ray.runtime.train_internals.draining import draining_nodes  # once the version is known to fit

    here = ray.get_runtime_context().get_node_id()
    unfit = check(alive_nodes(), threading.Event())
    return ClusterWatch(alive_nodes, draining_nodes, check, needs.on_nodes, unfit=unfit, own_node=here)


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


def _bundles(budget: Budget) -> list[dict[str, float]]:
    """Returns what the processes of one run reserve, at least."""
    workers = workers_of(budget)
    return [dict(_resources(budget))] if workers is None else [workers.resources] * workers.min_workers


def _resources(budget: Budget) -> dict[str, float]:
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
