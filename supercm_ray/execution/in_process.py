"""The in-process executor: runs one after the other in the calling process, for debuggers, tests and machines without
Ray.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, nullcontext

from supercm_ray.config import Budget
from supercm_ray.errors import DamagedError, InterruptedStudyError, StorageError, StudyError
from supercm_ray.execution.attempts import RETRIES, attempt, process_failed
from supercm_ray.execution.executor import Phase, Run, RunQueue
from supercm_ray.execution.interruption import check_interrupt
from supercm_ray.execution.place import Needs, Place, this_process
from supercm_ray.records import Message, RunFailed
from supercm_ray.training import Job, train_job

logger = logging.getLogger(__name__)


class InProcessExecutor:
    """Trains in the calling process, one run at a time."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def session(self, needs: Needs) -> AbstractContextManager[Place]:
        """Checks the budget; holds no resources.

        Raises:
            StudyError: if the budget asks for more than this process.
        """
        self.capacity(needs.budget)
        return nullcontext(this_process())

    def capacity(self, budget: Budget) -> int:
        """Returns 1.

        Raises:
            StudyError: if a run is to have several workers.
        """
        if budget.worker_range != (1, 1):
            raise StudyError(
                "the executor `in-process` has one worker, this process, got "
                f"budget.num_workers={budget.num_workers}; set it to 1, or take the executor `ray`"
            )
        return 1

    def run(self, job: Job, budget: Budget) -> Generator[Message]:
        """Runs the job in this process."""
        self.capacity(budget)
        yield from train_job(job)

    def run_all(self, phase: Phase, queue: RunQueue) -> None:
        """Runs everything that the queue hands out, one run after the other."""
        self._stopping.clear()
        while (run := queue.next()) is not None:
            queue.end(run, self._run_one(phase, queue, run))

    def stop(self) -> None:
        """Makes `run_all` end after the current epoch."""
        self._stopping.set()

    def _run_one(self, phase: Phase, queue: RunQueue, run: Run) -> RunFailed | None:
        """Runs one run to its end and returns why it failed.

        Raises:
            StorageError: if its records or checkpoints cannot be written in any of several attempts.
            DamagedError: if its records are not as they were written.
            InterruptedStudyError: if the resources for it are gone.
        """
        failures = 0
        while True:
            try:
                return self._attempt(phase, queue, run)
            except (DamagedError, InterruptedStudyError):
                raise
            except StorageError as error:  # a full disk is no failure of the run, which stays open
                failures += 1
                if failures > RETRIES:
                    raise
                logger.warning("%s; %s is tried again", error, run.key)
            except Exception as error:  # a run that raises anything at all is failed, as where it has its own process
                logger.warning("%s failed in its process", run.key, exc_info=True)
                return process_failed(f"{type(error).__name__}: {error}".splitlines()[0])

    def _attempt(self, phase: Phase, queue: RunQueue, run: Run) -> RunFailed | None:
        with closing(attempt(self, phase, run)) as messages:
            for message in messages:
                check_interrupt()
                if self._stopping.is_set():
                    raise KeyboardInterrupt
                if isinstance(message, RunFailed):
                    return message
                if queue.take(run, message):
                    break
        return None
