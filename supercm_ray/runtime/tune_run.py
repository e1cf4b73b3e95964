"""One phase of a study under Ray Tune: one process for each concurrent trial, reused for one run after the other."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ray import tune

from supercm_ray.errors import StorageError
from supercm_ray.execution.executor import Executor, Phase, RunQueue
from supercm_ray.execution.halting import HaltingQueue
from supercm_ray.execution.interruption import check_interrupt, preempt
from supercm_ray.records import writing
from supercm_ray.runtime.placement import placed
from supercm_ray.runtime.tune_callback import QueueCallback
from supercm_ray.runtime.tune_scheduler import QueueScheduler
from supercm_ray.runtime.tune_search import QueueSearcher
from supercm_ray.runtime.tune_trainable import TrialRunner


def run_phase(
    phase: Phase,
    queue: RunQueue,
    *,
    make_executor: Callable[[frozenset[str]], Executor],
    resources: Mapping[str, float],
    room: Callable[[], int],
    left_out: Callable[[], frozenset[str]],
) -> None:
    """Runs the remaining runs of a queue.

    Args:
        phase: what all runs share; its data are stored once on each node.
        queue: hands out the runs.
        make_executor: makes the executor that trains a run within the process of its trial, off some nodes.
        resources: what Tune reserves for that process.
        room: returns the number of runs that the cluster has room for; raises KeyboardInterrupt to end everything.
        left_out: returns the ids of the nodes that are not used.

    Raises:
        KeyboardInterrupt: after Ctrl-C, a signal or by `room`, with nothing of the phase left on the cluster.
        StorageError: likewise, if records or checkpoints cannot be written.
        PreemptedError: likewise, if a run is lost too often or there is no room any more.
    """
    halting = HaltingQueue(queue)
    trainable = tune.with_parameters(TrialRunner, phase=_at_its_place(phase), make_executor=make_executor)
    sized = tune.with_resources(trainable, lambda config: placed(resources, config["left_out"]))
    if not _fit(phase, halting, sized, room, left_out):
        gc.collect()  # Tune's loop, which was left half-way, lets go of processes and resources once it is gone
        if halting.failure is not None:
            raise halting.failure
        raise KeyboardInterrupt


def _at_its_place(phase: Phase) -> Phase:
    """Returns a phase whose folder is named in full."""
    return replace(phase, folder=replace(phase.folder, path=phase.folder.path.resolve()))


def _fit(
    phase: Phase,
    queue: HaltingQueue,
    trainable: object,
    room: Callable[[], int],
    left_out: Callable[[], frozenset[str]],
) -> bool:
    """Runs Tune and says whether it came to its end without an interruption."""
    path = phase.folder.path.resolve()

    def checked_room() -> int:
        check_interrupt()
        return room()

    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=QueueSearcher(queue, checked_room, left_out),
            scheduler=QueueScheduler(queue),
            num_samples=-1,  # as many as the queue hands out, some of them again
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=phase.name,
            storage_path=str(path / "ray"),
            callbacks=[QueueCallback(queue, checked_room)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a run saves its checkpoints itself
            failure_config=tune.FailureConfig(max_failures=0),  # the queue hands a run out again
            verbose=0,
        ),
    )
    try:
        with writing(path / "ray"), _of_the_disk():
            tuner.fit()
        if queue.num_left:  # as after a SIGUSR1 before its first round, which Tune takes for itself
            preempt("SIGUSR1, after which Ray Tune has ended early")
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
