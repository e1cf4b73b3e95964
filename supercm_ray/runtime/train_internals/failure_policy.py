"""A failure policy that counts failures without progress.

Relies on (Ray 2.56 to 2.60): `DefaultFailurePolicy(failure_config)` and its `make_decision`, called for every failure
of workers or of their start, with an error whose text tells what happened; `FailureDecision.RETRY` and `.RAISE`.
Why: `FailureConfig(max_failures=...)` counts all failures of a run, so a long run on nodes that come and go would end;
`UserCallback.after_exception` is not called if workers cannot be started, and can stop nothing.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError
from ray.train import ControllerError
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision

from supercm_ray.runtime.channel import NO_EPOCH
from supercm_ray.runtime.losses import is_lost

_ANSWER_TIMEOUT_S = 30.0
_DEATH_TIMEOUT_S = 2.0


class ProgressPolicy(DefaultFailurePolicy):
    """Starts the workers again after each failure, until `limit` failures in a row brought no new epoch. What
    was late for want of room is lost, and not failed.
    """

    def __init__(self, failure_config: Any, channel: ActorHandle, limit: int) -> None:
        super().__init__(failure_config)
        self._channel, self._limit = channel, limit
        self._epoch, self._failures = NO_EPOCH, 0

    def make_decision(self, training_failed_error: Exception) -> FailureDecision:
        """Decides whether the workers are started again, and tells the channel."""
        decision = super().make_decision(training_failed_error)
        try:
            epoch, hopeless, workers = ray.get(self._channel.progress.remote(), timeout=_ANSWER_TIMEOUT_S)
            late = _start_failure(training_failed_error)
            self._failures = 1 if epoch > self._epoch else self._failures + 1
            self._epoch = epoch
            again = decision is FailureDecision.RETRY and not hopeless and self._failures <= self._limit
            death, is_lost = (late, True) if late else _death(workers)
            account = again, self._failures, is_lost, death, str(training_failed_error)
            ray.get(self._channel.down.remote(*account), timeout=_ANSWER_TIMEOUT_S)
        except (RayActorError, TimeoutError):
            return FailureDecision.RAISE
        return FailureDecision.RETRY if again else FailureDecision.RAISE


def _start_failure(error: Exception) -> str:
    """Returns why no workers could be started; empty if they were."""
    if not isinstance(error, ControllerError):
        return ""
    return str(error).strip().splitlines()[-1].split(" Potential causes include")[0]


def _death(workers: dict[int, ActorHandle]) -> tuple[str, bool]:
    """Returns how the process of a worker died, empty if all are alive, and whether the infrastructure took it.

    Ray may know only of what followed from a death, such as a lost connection of another worker, so workers are asked.
    """
    answers = {worker.__ray_ready__.remote(): rank for rank, worker in sorted(workers.items())}
    ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=_DEATH_TIMEOUT_S) if answers else ([], [])
    for answer in ready:
        try:
            ray.get(answer)
        except RayActorError as error:
            line = str(error).strip().splitlines()[-1].strip()
            line = line.split("Worker exit detail: ")[-1].split(" If the process was killed")[0]
            return f"worker {answers[answer]} died: {line}", is_lost(error)
    return "", False
