"""Ray Tune's callback: tells the queue how a run ended, and ends Tune's loop when the command is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import ray
from ray import tune
from ray.tune.experiment import Trial

from supercm_ray.errors import StorageError
from supercm_ray.execution.attempts import process_failed
from supercm_ray.execution.halting import HaltingQueue
from supercm_ray.records import RunFailed
from supercm_ray.runtime.losses import is_lost
from supercm_ray.runtime.tune_trainable import messages_of


class QueueCallback(tune.Callback):
    """Passes the ends of trials on to a queue."""

    def __init__(self, queue: HaltingQueue, check: Callable[[], object]) -> None:
        """Creates the callback.

        Args:
            queue: the queue that runs come from.
            check: raises KeyboardInterrupt when everything is to end.
        """
        self._queue, self._check = queue, check

    def __getstate__(self) -> dict[str, object]:
        """Returns no state: Tune's own snapshots are never restored."""
        return {}

    def on_step_begin(self, iteration: int, trials: Sequence[Trial], **info: object) -> None:
        """Ends Tune's loop if the command is interrupted or the cluster is lost."""
        self._check()

    def on_trial_complete(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object) -> None:
        """Ends a run that has finished, was stopped early, or reported a failure."""
        run, messages = trial.config["run"], messages_of(trial.last_result)
        storage_failure = trial.last_result.get("storage_failure")
        if storage_failure:
            self._queue.halt(StorageError(storage_failure))
        failure = None if messages else process_failed("it ended without a word")
        for message in messages:
            if isinstance(message, RunFailed):
                failure = message
            else:
                self._queue.take(run, message)
        self._queue.end(run, failure)

    def on_trial_error(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object) -> None:
        """Ends a run whose process has died, was lost or raised; everything, if its storage failed."""
        error = _error_of(trial)
        cause = getattr(error, "cause", error)  # of an error that was raised in the run's process
        if isinstance(cause, StorageError):
            self._queue.halt(cause)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        self._queue.end(trial.config["run"], process_failed(reason, is_lost=is_lost(error)))


def _error_of(trial: Trial) -> object:
    """Returns the exception that a trial ended with, which Tune leaves in a file of this machine before it is anywhere
    else; its text if it is of another kind.
    """
    try:
        return ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (OSError, TypeError):  # Tune stores those of Ray alone
        return trial.get_error() or "it died"
