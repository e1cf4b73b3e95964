"""One phase of a study under Ray Tune: one process for each concurrent trial, reused for one run after the other."""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ray import tune

from supercm_ray.errors import PreemptedError, StorageError
from supercm_ray.execution.executor import Executor, Phase, RunQueue
from supercm_ray.execution.halting import HaltingQueue
from supercm_ray.execution.interruption import check_interrupt
from supercm_ray.records import writing
from supercm_ray.runtime.cluster_watch import ClusterWatch
from supercm_ray.runtime.tune_callback import QueueCallback
from supercm_ray.runtime.tune_scheduler import QueueScheduler
from supercm_ray.runtime.tune_search import QueueSearcher
from supercm_ray.runtime.tune_trainable import TrialRunner


def run_phase(
    phase: Phase,
    queue: RunQueue,
    *,
    executor: Executor,
    resources: tune.PlacementGroupFactory,
    watch: ClusterWatch,
    stopping: threading.Event,
) -> None:
    """Runs the remaining runs of a queue.

    Args:
        phase: what all runs share; its data are stored once on each node.
        queue: hands out the runs.
        executor: trains a run within the process of its trial.
        resources: what Tune reserves for that process.
        watch: knows how many runs the cluster has room for.
        stopping: an event that ends everything once it is set.

    Raises:
        KeyboardInterrupt: after Ctrl-C, SIGTERM or `stopping`, with nothing of the phase left on the cluster.
        StorageError: likewise, if records or checkpoints cannot be written.
        PreemptedError: likewise, if the cluster is lost.
    """
    halting = HaltingQueue(queue)
    with watch.watching():
        is_whole = _fit(phase, halting, executor, resources, watch, stopping)
    if not is_whole:
        gc.collect()  # Tune's loop, which was left half-way, lets go of processes and resources once it is gone
        if halting.failure is not None:
            raise halting.failure
        raise KeyboardInterrupt


def _fit(
    phase: Phase,
    queue: HaltingQueue,
    executor: Executor,
    resources: tune.PlacementGroupFactory,
    watch: ClusterWatch,
    stopping: threading.Event,
) -> bool:
    """Runs Tune and says whether it came to its end without an interruption."""
    path = phase.folder.path.resolve()
    shared = replace(phase, folder=replace(phase.folder, path=path))
    trainable = tune.with_parameters(TrialRunner, phase=shared, executor=executor)

    def room() -> int:
        check_interrupt()
        if stopping.is_set():
            raise KeyboardInterrupt
        try:
            return watch.room()
        except PreemptedError as error:
            queue.halt(error)

    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=QueueSearcher(queue, room),
            scheduler=QueueScheduler(queue),
            num_samples=-1,  # as many as the queue hands out, some of them again
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=phase.name,
            storage_path=str(path / "ray"),
            callbacks=[QueueCallback(queue, room)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a run saves its checkpoints itself
            failure_config=tune.FailureConfig(max_failures=0),  # the queue hands a run out again
            verbose=0,
        ),
    )
    try:
        with writing(path / "ray"), _of_the_disk():
            tuner.fit()
    except StorageError as error:
        queue.failure = error
        return False
    except KeyboardInterrupt:
        return False
    return True


@contextmanager
def _of_the_disk() -> Iterator[None]:
    """Raises the error of the disk that an exception of Tune's comes from, if it comes from one."""
    try:
        yield
    except Exception as error:
        told = re.search(rf"{StorageError.__name__}: (.+)", str(error))  # Tune has it as text alone
        if told:
            raise StorageError(told[1]) from None
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno is not None:
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise
