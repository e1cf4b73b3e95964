"""Runs that are handed out again: after a failed process a few times, after a loss as often as is allowed."""

from __future__ import annotations

import pytest

from supercm_ray.errors import PreemptedError
from supercm_ray.execution.attempts import RETRIES, process_failed
from supercm_ray.execution.executor import Run
from supercm_ray.execution.retries import RetryingQueue
from supercm_ray.records import EpochMetrics, Message, RunFailed

LOST, DIED = process_failed("its node has died", is_lost=True), process_failed("exit code 1")


class Plain:
    """A queue that remembers what it was told."""

    def __init__(self, *keys: str) -> None:
        self.runs = [Run(key, "trial") for key in keys]
        self.ends: list[tuple[str, RunFailed | None]] = []
        self.messages: list[Message] = []

    @property
    def num_left(self) -> int:
        return len(self.runs)

    def next(self) -> Run | None:
        return self.runs.pop(0) if self.runs else None

    def take(self, run: Run, message: Message) -> bool:
        self.messages.append(message)
        return False

    def end(self, run: Run, failure: RunFailed | None) -> None:
        self.ends.append((run.key, failure))


def handed_out(queue: RetryingQueue) -> Run:
    run = queue.next()
    assert run is not None
    return run


def test_a_failed_process_is_tried_again_before_others() -> None:
    inner = Plain("a", "b")
    queue = RetryingQueue(inner, max_lost=3)
    run = handed_out(queue)
    for _ in range(RETRIES):
        queue.end(run, DIED)
        assert queue.num_left == 2
        assert handed_out(queue) is run
    assert not inner.ends
    queue.end(run, DIED)
    assert inner.ends == [("a", DIED)]
    assert handed_out(queue).key == "b"


def test_a_computation_that_failed_is_not_tried_again() -> None:
    inner = Plain("a")
    queue = RetryingQueue(inner, max_lost=3)
    failure = RunFailed(2, "the loss is nan")
    queue.end(handed_out(queue), failure)
    assert inner.ends == [("a", failure)]
    assert queue.next() is None


def test_a_lost_run_ends_everything_and_is_not_failed() -> None:
    inner = Plain("a", "b")
    queue = RetryingQueue(inner, max_lost=2)
    for _ in range(2):
        queue.end(handed_out(queue), LOST)
    with pytest.raises(PreemptedError, match=r"a was lost 3 times .*its node has died.* same command") as raised:
        queue.end(handed_out(queue), LOST)
    assert raised.value.exit_code == 75
    assert not inner.ends


def test_a_new_epoch_forgives_former_losses() -> None:
    inner = Plain("a")
    queue = RetryingQueue(inner, max_lost=1)
    for epoch in (1, 2, 3):
        run = handed_out(queue)
        queue.take(run, EpochMetrics(epoch, {}))
        queue.end(run, LOST)
    run = handed_out(queue)
    queue.take(run, EpochMetrics(3, {}))  # an epoch that was reported before is none
    with pytest.raises(PreemptedError):
        queue.end(run, LOST)
    assert len(inner.messages) == 4


def test_losses_and_failures_are_counted_apart() -> None:
    inner = Plain("a")
    queue = RetryingQueue(inner, max_lost=5)
    for failure in (LOST, LOST, LOST, DIED, DIED):
        queue.end(handed_out(queue), failure)
    assert not inner.ends
    queue.end(handed_out(queue), DIED)
    assert inner.ends == [("a", DIED)]
