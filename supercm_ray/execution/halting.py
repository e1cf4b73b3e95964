"""The end of a phase that cannot go on, since records cannot be written or resources are gone: without a failed run, so
that the same command goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeAlias, TypeVar

from supercm_ray.errors import DamagedError, InterruptedStudyError, StorageError
from supercm_ray.execution.executor import Run, RunQueue
from supercm_ray.records import Message, RunFailed

T = TypeVar("T")
Halting: TypeAlias = StorageError | DamagedError | InterruptedStudyError


class HaltingQueue:
    """A queue for executors that can be ended by KeyboardInterrupt alone: remembers what ended it.

    Attributes:
        failure: the error that ended it; None while there is none.
    """

    def __init__(self, queue: RunQueue) -> None:
        """Wraps a queue."""
        self._queue = queue
        self.failure: Halting | None = None

    @property
    def num_left(self) -> int:
        """Number of runs still to be handed out."""
        return self._queue.num_left

    def next(self) -> Run | None:
        """Returns the next run."""
        return self._guarded(self._queue.next)

    def take(self, run: Run, message: Message) -> bool:
        """Records a message of a run and returns whether the run is to be stopped now."""
        return self._guarded(lambda: self._queue.take(run, message))

    def end(self, run: Run, failure: RunFailed | None) -> None:
        """Ends a run."""
        self._guarded(lambda: self._queue.end(run, failure))

    def halt(self, failure: Halting) -> NoReturn:
        """Ends everything.

        Raises:
            KeyboardInterrupt: always.
        """
        self.failure = self.failure or failure
        raise KeyboardInterrupt

    def _guarded(self, call: Callable[[], T]) -> T:
        if self.failure is not None:
            raise KeyboardInterrupt
        try:
            return call()
        except (StorageError, DamagedError, InterruptedStudyError) as error:
            self.failure = error
            raise KeyboardInterrupt from error
