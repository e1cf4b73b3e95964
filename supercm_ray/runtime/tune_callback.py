"""Ray Tune's callback: tells the queue how a run ended, and Tune's loop that the command is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ray import tune
from ray.tune.experiment import Trial

from supercm_ray.execution.attempts import process_failed
from supercm_ray.execution.executor import RunQueue
from supercm_ray.execution.interruption import check_interrupt
from supercm_ray.records import RunFailed
from supercm_ray.runtime.tune_trainable import messages_of


class QueueCallback(tune.Callback):
    """Passes the ends of trials on to a queue."""

    def __init__(self, queue: RunQueue, stopping: threading.Event) -> None:
        """Args: the queue, and what is set when everything is to end."""
        self._queue, self._stopping = queue, stopping

    def __getstate__(self) -> dict[str, object]:
        """Nothing for Tune's own snapshots, which are never restored."""
        return {}

    def on_step_begin(self, iteration: int, trials: Sequence[Trial], **info: object) -> None:
        """Tune's loop goes round."""
        check_interrupt()
        if self._stopping.is_set():
            raise KeyboardInterrupt

    def on_trial_complete(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object) -> None:
        """A run came to its end, was stopped early, or said why it could not go on."""
        run, messages = trial.config["run"], messages_of(trial.last_result)
        failure = None if messages else process_failed("it ended without a word")
        for message in messages:
            if isinstance(message, RunFailed):
                failure = message
            else:
                self._queue.take(run, message)
        self._queue.end(run, failure)

    def on_trial_error(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object) -> None:
        """The process died or raised, as often as it was tried."""
        error = str(trial.get_pickled_error() or trial.get_error() or "it died").strip().splitlines()[-1]
        self._queue.end(trial.config["run"], process_failed(error))
