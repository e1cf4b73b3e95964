"""Runs whose process failed or was taken away are handed out again, from their checkpoints."""

from __future__ import annotations

import logging
from collections import Counter

from supercm_ray.errors import PreemptedError
from supercm_ray.execution.attempts import RETRIES
from supercm_ray.execution.executor import Run, RunQueue
from supercm_ray.records import EpochMetrics, Message, RunFailed

logger = logging.getLogger(__name__)


class RetryingQueue:
    """A queue that hands a run out again whose process failed, a few times, or was lost, so often as `max_lost` allows.

    A lost run is none that failed: beyond `max_lost` losses in a row without a new epoch everything ends, and the runs
    stay open.
    """

    def __init__(self, queue: RunQueue, max_lost: int) -> None:
        """Wraps a queue.

        Args:
            queue: the queue.
            max_lost: number of losses of a run in a row, without a new epoch in between, after which it is handed out
                again.
        """
        self._queue, self._max_lost = queue, max_lost
        self._again: list[Run] = []
        self._epochs: dict[str, int] = {}
        self._failures: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()

    @property
    def num_left(self) -> int:
        """Number of runs still to be handed out, those to be handed out again included."""
        return self._queue.num_left + len(self._again)

    def next(self) -> Run | None:
        """Returns a run to be tried again, or else the next one."""
        return self._again.pop(0) if self._again else self._queue.next()

    def take(self, run: Run, message: Message) -> bool:
        """Records a message of a run and returns whether the run is to be stopped now."""
        if isinstance(message, EpochMetrics) and message.epoch > self._epochs.get(run.key, 0):
            self._epochs[run.key] = message.epoch
            del self._losses[run.key]
        return self._queue.take(run, message)

    def end(self, run: Run, failure: RunFailed | None) -> None:
        """Ends a run, or notes that it is to be handed out again.

        Raises:
            PreemptedError: if the run was lost too often.
        """
        if failure is not None and failure.by_process and self._is_tried_again(run, failure):
            self._again.append(run)
        else:
            self._queue.end(run, failure)

    def _is_tried_again(self, run: Run, failure: RunFailed) -> bool:
        if not failure.is_lost:
            self._failures[run.key] += 1
            return self._failures[run.key] <= RETRIES
        self._losses[run.key] += 1
        if self._losses[run.key] > self._max_lost:
            raise PreemptedError(
                f"{run.key} was lost {self._losses[run.key]} times without a new epoch (budget.max_failures="
                f"{self._max_lost}); {failure.reason}; no run is counted as failed for it, and the same command goes on"
            )
        logger.warning("%s was lost and is run again from its checkpoint; %s", run.key, failure.reason)
        return True
