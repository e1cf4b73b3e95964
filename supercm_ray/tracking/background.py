"""The guard around trackers: whatever they raise, a study continues and shows its result."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from supercm_ray.credentials import without_credentials
from supercm_ray.errors import TrackingError
from supercm_ray.records import Status
from supercm_ray.tracking.messages import reason_of
from supercm_ray.tracking.tracker import TrackedModel, Tracker

logger = logging.getLogger(__name__)

T = TypeVar("T")


class BackgroundTracker:
    """Runs a tracker in a thread of its own, so that a slow tool never delays training, and catches its errors.

    Calls are made in order. `sync` returns at once; all other calls wait for their turn, and return empty values if the
    tracker fails.
    """

    def __init__(self, tracker: Tracker) -> None:
        """Takes over a tracker, which must only be used by this object from now on."""
        self._tracker = tracker
        self._queue: queue.SimpleQueue[str | Callable[[], object] | None] = queue.SimpleQueue()
        self._warned, self._lacks = False, False
        self.uri = self._attempt(lambda tracker: tracker.uri, "")
        self.how_to_open = self._attempt(lambda tracker: tracker.how_to_open, "")
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def open_study(self) -> str:
        """Opens the study and returns the id of its parent run.

        Raises:
            TrackingError: if the tracker cannot be used. No other error of a tracker ends a study.
        """
        errors: list[Exception] = []

        def opening(tracker: Tracker) -> str:
            try:
                return tracker.open_study()
            except Exception as error:  # raised in the thread that asked
                errors.append(error)
                return ""

        run_id = self._ask(opening, "")
        if errors:
            raise errors[0] if isinstance(errors[0], TrackingError) else unusable(self.uri, errors[0]) from errors[0]
        return run_id

    def attach_study(self) -> bool:
        """Finds the parent run and returns whether it is open."""
        return self._ask(lambda tracker: tracker.attach_study(), False)

    def sync(self, key: str) -> None:
        """Queues the run with this key to be written."""
        self._queue.put(key)

    def sync_all(self) -> None:
        """Writes everything that the tracker lacks of any run."""
        self._ask(lambda tracker: tracker.sync_all(), None)

    def close_study(self, status: Status) -> None:
        """Closes the study."""
        self._ask(lambda tracker: tracker.close_study(status), None)

    def log_files(self, files: Mapping[Path, str]) -> None:
        """Stores files of the study."""
        self._ask(lambda tracker: tracker.log_files(files), None)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Stores metrics of the study."""
        self._ask(lambda tracker: tracker.log_metrics(metrics), None)

    def log_model(self, model: TrackedModel, under: str | None = None) -> str:
        """Stores a model and returns its address."""
        return self._ask(lambda tracker: tracker.log_model(model, under), "")

    def run_id(self, key: str | None = None) -> str:
        """Returns the id of the run with this key, or of the parent run."""
        return self._ask(lambda tracker: tracker.run_id(key), "")

    def flush(self) -> None:
        """Waits until everything requested so far was tried."""
        self._ask(lambda tracker: None, None)

    def close(self, *, catch_up: bool = True) -> None:
        """Waits until everything requested was tried, retries what failed, and warns of what is still missing.

        Args:
            catch_up: whether to write what the tracker lacks of any run.
        """
        if not self._thread.is_alive():
            return
        if catch_up:
            self._queue.put(self._catch_up)
        self._queue.put(None)
        self._thread.join()
        if self._lacks:
            logger.warning(
                "%s lacks a part of this study, whose results are whole; the same command sends it",
                without_credentials(self.uri) or "the tracker",
            )

    def _catch_up(self) -> None:
        """Writes what failed. Epochs and records that are complete in the end are not reported as missing."""
        self._attempt(lambda tracker: tracker.sync_all(), None)

    def _work(self) -> None:
        while True:
            tasks = [self._queue.get()]
            while not self._queue.empty():
                tasks.append(self._queue.get())
            for task in dict.fromkeys(task for task in tasks if task is not None):
                if callable(task):
                    task()
                else:
                    self._attempt(partial(_sync, task), None, made_up_for=True)
            if None in tasks:
                return

    def _ask(self, call: Callable[[Tracker], T], default: T) -> T:
        """Returns the result of a call made after all that were requested before, or the default if it fails."""
        answers: list[T] = []
        done = threading.Event()

        def work() -> None:
            answers.append(self._attempt(call, default))
            done.set()

        if not self._thread.is_alive():
            return self._attempt(call, default)
        self._queue.put(work)
        done.wait()
        return answers[0]

    def _attempt(self, call: Callable[[Tracker], T], default: T, *, made_up_for: bool = False) -> T:
        """Returns the result of a call of the tracker, or the default if it fails; warns of the first failure.

        Args:
            call: calls one method of the tracker.
            default: the result after a failure.
            made_up_for: whether the retry at the end does what the call would have done.
        """
        try:
            return call(self._tracker)
        except Exception as error:  # of any kind: a tracker is code of others, over a network
            self._lacks = self._lacks or not made_up_for
            if not self._warned:
                self._warned = True
                logger.warning(
                    "the tracker does not take what it is sent, the study goes on and sends it later: %s",
                    reason_of(error),
                )
            return default


def unusable(uri: str, error: Exception) -> TrackingError:
    """Returns the error of a tracker that cannot be used, at the start of a study."""
    return TrackingError(
        f"the tracker must be usable{f' at {without_credentials(uri)}' if uri else ''}, got: {reason_of(error)}; "
        "name another one in `tracking` or SUPERCM_TRACKING, or `none`"
    )


@contextmanager
def background(tracker: Tracker, *, catch_up: bool = True) -> Iterator[BackgroundTracker]:
    """Guards a tracker for the duration of the block, and writes everything at its end.

    Args:
        tracker: the tracker to guard.
        catch_up: whether to write, at the end, what it lacks of any run; not while another process does.
    """
    guarded = BackgroundTracker(tracker)
    try:
        yield guarded
    finally:
        guarded.close(catch_up=catch_up)


def _sync(key: str, tracker: Tracker) -> None:
    tracker.sync(key)
