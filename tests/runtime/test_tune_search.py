"""How Ray Tune's searcher hands out runs while the room of a cluster changes."""

from __future__ import annotations

import pytest
from execution.test_retries import LOST, Plain
from ray.tune.search import Searcher

from supercm_ray.errors import PreemptedError
from supercm_ray.execution.halting import HaltingQueue
from supercm_ray.execution.retries import RetryingQueue
from supercm_ray.runtime.tune_search import QueueSearcher


def made(*keys: str, patience_s: float = 60) -> tuple[QueueSearcher, HaltingQueue, list[int]]:
    queue, room = HaltingQueue(RetryingQueue(Plain(*keys), max_lost=3)), [1]
    return QueueSearcher(queue, lambda: room[0], frozenset, patience_s), queue, room


def test_no_more_runs_are_out_than_fit() -> None:
    searcher, _, room = made("a", "b", "c")
    assert searcher.suggest("1")["run"].key == "a"
    assert searcher.suggest("2") is None
    room[0] = 2
    assert searcher.suggest("2")["run"].key == "b"
    room[0] = 1
    searcher.on_trial_complete("1")
    assert searcher.suggest("3") is None, "one is still out"
    searcher.on_trial_complete("2")
    assert searcher.suggest("3")["run"].key == "c"


def test_a_search_ends_after_its_last_run() -> None:
    """A run that is out may be lost, and is then handed out again."""
    searcher, queue, room = made("a")
    room[0] = 2
    run = searcher.suggest("1")["run"]
    assert searcher.suggest("2") is None
    searcher.on_trial_complete("1", error=True)
    queue.end(run, LOST)
    assert searcher.suggest("2")["run"].key == "a"
    searcher.on_trial_complete("2")
    queue.end(run, None)
    assert searcher.suggest("3") == Searcher.FINISHED


def test_no_room_for_long_ends_with_runs_left_open() -> None:
    searcher, queue, room = made("a", patience_s=0.0)
    room[0] = 0
    with pytest.raises(KeyboardInterrupt):
        while searcher.suggest("1") is None:
            pass
    assert isinstance(queue.failure, PreemptedError)
    assert "same command" in str(queue.failure)
