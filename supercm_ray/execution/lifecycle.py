"""What becomes of a study's open runs when its command ends before its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from supercm_ray.errors import InterruptedStudyError
from supercm_ray.execution.recorder import Recorder
from supercm_ray.tracking import BackgroundTracker, Tracker


@contextmanager
def closing_on_error(recorder: Recorder, tracker: Tracker, writer: BackgroundTracker) -> Iterator[None]:
    """Leaves no run open when the block is left by an error, before anything else is taken down."""
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | InterruptedStudyError)
        recorder.interrupt()
        writer.call(lambda: tracker.end_parent("interrupted" if interrupted else "failed"))
        writer.flush()
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedStudyError(f"{recorder.study.name} was interrupted; the same command resumes it") from None
        raise
