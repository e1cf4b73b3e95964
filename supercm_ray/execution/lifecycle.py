"""Closes a study's open runs when its command ends early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from supercm_ray.errors import InterruptedStudyError, SuperCMError
from supercm_ray.execution.recorder import Recorder
from supercm_ray.records import Status


@contextmanager
def closing_on_error(recorder: Recorder, on_end: Callable[[Status], None]) -> Iterator[None]:
    """Closes open runs as interrupted when the block is left by an error, before resources are released.

    Args:
        recorder: the recorder of the runs.
        on_end: called with the status of the study, such as by a tracker.

    Raises:
        InterruptedStudyError: in place of KeyboardInterrupt.
    """
    try:
        yield
    except BaseException as error:
        with suppress(SuperCMError):  # such as a full disk, from which the first error comes as well
            recorder.interrupt()
        on_end("interrupted" if isinstance(error, KeyboardInterrupt | InterruptedStudyError) else "failed")
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedStudyError(f"{recorder.study.name} was interrupted; the same command resumes it") from None
        raise
