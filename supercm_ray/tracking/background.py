"""The guard around trackers: whatever they raise and however long they take, a study continues and shows its result."""

from __future__ import annotations

import logging
import queue
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from supercm_ray.credentials import without_credentials
from supercm_ray.errors import SuperCMError, TrackingError
from supercm_ray.execution.environment import complete_environment
from supercm_ray.execution.interruption import seconds_to_close
from supercm_ray.records import Status, StudyFolder
from supercm_ray.tracking.messages import reason_of
from supercm_ray.tracking.tracker import TrackedModel, Tracker

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 20.0
"""Seconds that a command waits, at its start and at its end, for a tracker that does not answer; after an interruption
all waiting together ends within `interruption.CLOSING_S`.
"""
_MODEL_PATIENCE_S = 600.0  # a model may be large
_LOST_S = 10.0  # of waiting for calls that then fail, after which no other call is made
_NOTICE_S = 3.0
_RUN, _MODEL = "run ", "the model of "
_OPENINGS = 3


class BackgroundTracker:
    """Runs a tracker in a thread of its own, so that a slow tool never delays training, and catches its errors.

    Calls are made in order. `sync` returns at once; all other calls wait for their turn, and return empty values if the
    tracker fails or does not answer.
    """

    def __init__(self, tracker: Tracker, *, folder: StudyFolder | None = None, resend: str = "") -> None:
        """Takes over a tracker, which must only be used by this object from now on.

        Args:
            tracker: the tracker to guard.
            folder: the study's folder, whose runs are then caught up with one by one.
            resend: a command that sends what the tracker lacks in the end, besides the same command.
        """
        self._tracker, self._folder, self._resend = tracker, folder, resend
        self._queue: queue.SimpleQueue[str | Callable[[], object] | None] = queue.SimpleQueue()
        self._warned = False
        self._failed: dict[str, Callable[[Tracker], object]] = {}
        self._lost_s, self._progress_at, self._is_awaited, self._given_up = 0.0, time.monotonic(), False, False
        self.uri = self._attempt(lambda tracker: tracker.uri, "", "")
        self.how_to_open = self._attempt(lambda tracker: tracker.how_to_open, "", "")
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def open_study(self) -> str:
        """Opens the study and returns the id of its parent run.

        Raises:
            TrackingError: if the tracker cannot be used. No other error of a tracker ends a study.
        """
        errors: list[Exception] = []

        def opening(tracker: Tracker) -> str:
            for left in reversed(range(_OPENINGS)):
                began = time.monotonic()
                try:
                    return tracker.open_study()
                except Exception as error:  # raised in the thread that asked
                    if isinstance(error, TrackingError) or not left or time.monotonic() - began > 1:
                        errors.append(error)
                        return ""
                time.sleep(0.1)
            return ""

        run_id = self._ask(opening, "", "")
        if self._given_up:
            errors.append(TimeoutError(f"no answer within {PATIENCE_S:g} s"))
        if errors:
            raise errors[0] if isinstance(errors[0], TrackingError) else unusable(self.uri, errors[0]) from errors[0]
        self._ask_how_to_open()
        return run_id

    def attach_study(self) -> bool:
        """Finds the parent run and returns whether it is open; if that fails it may be, once it is there."""
        is_open = self._ask(lambda tracker: tracker.attach_study(), True, "the study's run")
        self._ask_how_to_open()
        return is_open

    def _ask_how_to_open(self) -> None:
        """Asks how to open the study, once it is there."""
        self.how_to_open = self._ask(lambda tracker: tracker.how_to_open, self.how_to_open, "")

    def sync(self, key: str) -> None:
        """Queues the run with this key to be written."""
        self._queue.put(key)

    def sync_all(self) -> None:
        """Writes everything that the tracker lacks of any run."""
        if self._folder is None:
            self._ask(lambda tracker: tracker.sync_all(), None, "epochs or states of runs")
            return
        try:
            keys = self._folder.run_keys()
        except SuperCMError as error:  # such as a disk that is gone, which others tell
            self._warn(error)
            return
        for key in keys:  # one by one, so that it is seen how far it gets
            self._ask(partial(_sync, key), None, f"{_RUN}{key}")

    def close_study(self, status: Status) -> None:
        """Closes the study."""
        self._ask(lambda tracker: tracker.close_study(status), None, "the study's status")

    def log_files(self, files: Mapping[Path, str]) -> None:
        """Stores files of the study."""
        for path, folder in files.items():
            self._ask(partial(_log_file, path, folder), None, path.name)

    def log_note(self, text: str) -> None:
        """Stores the description of the study."""
        self._ask(lambda tracker: tracker.log_note(text), None, "the study's description")

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Stores metrics of the study."""
        lacking = f"the study's metrics at {step}" if step else "the study's metrics"
        self._ask(lambda tracker: tracker.log_metrics(metrics, step), None, lacking)

    def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
        """Stores a model and returns its address."""
        lacking = f"{_MODEL}{model.run}"
        return self._ask(lambda tracker: tracker.log_model(model, is_best=is_best), "", lacking, _MODEL_PATIENCE_S)

    def register_model(self, uri: str, name: str) -> str:
        """Registers a stored model and returns its version."""
        return self._ask(lambda tracker: tracker.register_model(uri, name), "", f"a version of {name}")

    def run_id(self, key: str | None = None) -> str:
        """Returns the id of the run with this key, or of the parent run."""
        return self._ask(lambda tracker: tracker.run_id(key), "", "")

    def flush(self) -> None:
        """Waits until everything requested so far was tried."""
        self._ask(lambda tracker: None, None, "")

    def close(self, *, catch_up: bool = True) -> None:
        """Waits until everything requested was tried, retries what failed, and warns of what is still missing.

        Args:
            catch_up: whether to write what the tracker lacks of any run.
        """
        if not self._thread.is_alive():
            return
        try:
            self.flush()
            if catch_up:
                self.sync_all()
            for lacking, call in list(self._failed.items()):
                self._ask(call, None, lacking, _MODEL_PATIENCE_S if lacking.startswith(_MODEL) else None)
        finally:
            self._queue.put(None)
            if not self._given_up:
                self._thread.join(min(PATIENCE_S, seconds_to_close()))
            if self._failed:
                self._warn_of_failed()

    def _warn_of_failed(self) -> None:
        resend = f"{self._resend} sends it, as does the same command" if self._resend else "the same command sends it"
        logger.warning(
            "%s lacks a part of this study, whose results are whole: %s; %s",
            without_credentials(self.uri) or "the tracker",
            ", ".join(self._lacking()),
            resend,
        )

    def _lacking(self) -> list[str]:
        """Returns what the tracker lacks, runs and models by their number."""
        runs = [lacking for lacking in self._failed if lacking.startswith(_RUN)]
        models = [lacking for lacking in self._failed if lacking.startswith(_MODEL)]
        named = [f"the models of {len(models)} runs" if one in models and models[1:] else one for one in self._failed]
        return [
            *([f"epochs or states of {len(runs)} runs"] if runs else []),
            *dict.fromkeys(one for one in named if one not in runs),
        ]

    def _work(self) -> None:
        while True:
            tasks = [self._queue.get()]
            while not self._queue.empty():
                tasks.append(self._queue.get())
            for task in dict.fromkeys(task for task in tasks if task is not None):
                if callable(task):
                    task()
                else:
                    self._attempt(partial(_sync, task), None, "")  # made up for at the end
            if None in tasks:
                return

    def _ask(self, call: Callable[[Tracker], T], default: T, lacking: str, patience_s: float | None = None) -> T:
        """Returns the result of a call made after all that were requested before, or the default if it fails.

        Args:
            call: calls one method of the tracker.
            default: the result after a failure.
            lacking: what the tracker lacks after a failure; empty for nothing.
            patience_s: seconds without the end of any call after which no answer is waited for, by default PATIENCE_S.
        """
        if not self._thread.is_alive() or self._given_up:
            return self._attempt(call, default, lacking)
        answers: list[T] = []
        done = threading.Event()

        def work() -> None:
            answers.append(self._attempt(call, default, lacking))
            done.set()

        self._progress_at, self._is_awaited = time.monotonic(), True
        self._queue.put(work)
        try:
            self._wait(done, PATIENCE_S if patience_s is None else patience_s)
        finally:
            self._is_awaited = False
        if not answers:
            self._note_failure(call, lacking)
            return default
        return answers[0]

    def _wait(self, done: threading.Event, patience_s: float) -> None:
        """Waits for an answer, and gives the tracker up if it does not come."""
        began = time.monotonic()
        if done.wait(min(_NOTICE_S, seconds_to_close())):
            return
        place, patience_s = without_credentials(self.uri) or "the tracker", min(patience_s, seconds_to_close())
        logger.warning("waiting for %s, at most %.3g s without an answer", place, patience_s)
        while not done.wait(0.1):
            if time.monotonic() - max(began, self._progress_at) > patience_s or not seconds_to_close():
                self._given_up = True
                return

    def _attempt(self, call: Callable[[Tracker], T], default: T, lacking: str) -> T:
        """Returns the result of a call of the tracker, or the default if it fails; warns of the first failure."""
        if self._given_up:
            self._note_failure(call, lacking)
            return default
        with complete_environment():  # with what trackers sign in with, also while Ray is started without it
            return self._attempt_now(call, default, lacking)

    def _attempt_now(self, call: Callable[[Tracker], T], default: T, lacking: str) -> T:
        began = time.monotonic()
        try:
            answer = call(self._tracker)
        except Exception as error:  # of any kind: a tracker is code of others, over a network
            self._note_failure(call, lacking)
            self._warn(error)
            self._lost_s += time.monotonic() - began if self._is_awaited else 0.0
            self._given_up = self._given_up or self._lost_s > _LOST_S
            return default
        else:
            self._failed.pop(lacking, None)
            self._lost_s = 0.0
            return answer
        finally:
            self._progress_at = time.monotonic()

    def _note_failure(self, call: Callable[[Tracker], object], lacking: str) -> None:
        if lacking:
            self._failed[lacking] = call

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "the tracker does not take what it is sent, the study goes on and sends it later: %s", reason_of(error)
            )


def unusable(uri: str, error: Exception) -> TrackingError:
    """Returns the error of a tracker that cannot be used, at the start of a study."""
    return TrackingError(
        f"the tracker must be usable{f' at {without_credentials(uri)}' if uri else ''}, got: {reason_of(error)}; "
        "name another one in `tracking` or SUPERCM_TRACKING, or `none`"
    )


@contextmanager
def background(
    tracker: Tracker, *, catch_up: bool = True, folder: StudyFolder | None = None, resend: str = ""
) -> Iterator[BackgroundTracker]:
    """Guards a tracker for the duration of the block, and writes everything at its end.

    Args:
        tracker: the tracker to guard.
        catch_up: whether to write, at the end, what it lacks of any run; not while another process does.
        folder: the study's folder.
        resend: a command that sends what the tracker lacks in the end.
    """
    guarded = BackgroundTracker(tracker, folder=folder, resend=resend)
    try:
        yield guarded
    finally:
        guarded.close(catch_up=catch_up)


def resend_command(folder: StudyFolder) -> str:
    """Returns the command that sends what a tracker lacks of a study."""
    return shlex.join(["supercm-ray", "sync", str(folder.path)])


def _sync(key: str, tracker: Tracker) -> None:
    tracker.sync(key)


def _log_file(path: Path, folder: str, tracker: Tracker) -> None:
    tracker.log_files({path: folder})
