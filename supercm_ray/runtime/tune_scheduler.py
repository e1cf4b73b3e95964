"""Ray Tune's scheduler: passes each epoch to the queue, and stops the trial if the queue says so."""

from __future__ import annotations

from collections.abc import Mapping

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from supercm_ray.execution.executor import RunQueue
from supercm_ray.runtime.tune_trainable import messages_of


class QueueScheduler(FIFOScheduler):
    """Starts trials in the order in which they were proposed and asks the queue after each epoch."""

    def __init__(self, queue: RunQueue) -> None:
        """Creates the scheduler over a queue."""
        super().__init__()
        self._queue = queue

    def __getstate__(self) -> dict[str, object]:
        """Returns no state: Tune's own snapshots are never restored."""
        return {}

    def on_trial_result(self, tune_controller: object, trial: Trial, result: Mapping[str, object]) -> str:
        """Passes new messages to the queue and returns whether the trial continues."""
        stops = [self._queue.take(trial.config["run"], message) for message in messages_of(result)]
        return str(TrialScheduler.STOP if any(stops) else TrialScheduler.CONTINUE)
