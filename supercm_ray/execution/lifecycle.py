"""How a study is driven: who does it is noted, and open runs are closed when its command ends early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from supercm_ray.credentials import without_credentials
from supercm_ray.errors import InterruptedStudyError, SuperCMError
from supercm_ray.execution.interruption import (
    CALLER,
    Cause,
    begin_closing,
    came,
    closed_by,
    interruptible,
    takes_signals,
)
from supercm_ray.execution.recorder import Recorder
from supercm_ray.execution.requests import heeding_requests
from supercm_ray.execution.study_log import logged, note
from supercm_ray.records import Session, Status, StudyFolder, reason_of

_RESUME = "the same command resumes it"


@dataclass(frozen=True)
class _Ending:
    """How a command ended: for its session, and for the records of runs that were open."""

    end: str
    reason: str = ""

    @classmethod
    def by(cls, cause: Cause) -> _Ending:
        return cls("preempted" if cause.is_preemption else "interrupted", f"interrupted by {cause.name}")

    @classmethod
    def of(cls, error: BaseException) -> _Ending:
        if isinstance(error, KeyboardInterrupt):
            return cls.by(came() or CALLER)
        said = without_credentials(reason_of(error))
        if isinstance(error, InterruptedStudyError):
            return cls("preempted" if Cause("", error.exit_code).is_preemption else "interrupted", said)
        return cls(f"failed: {said}", f"the command failed: {said}")

    @property
    def with_remedy(self) -> str:
        """The reason and what to do, which some errors say themselves."""
        return self.reason if "the same command" in self.reason else f"{self.reason}; {_RESUME}"


@contextmanager
def driving(folder: StudyFolder) -> Iterator[None]:
    """Makes this process the one that runs a study: locks it, and notes who runs it and how that ended.

    Raises:
        StudyError: if another process runs it.
        StorageError: if the lock or the session cannot be written.
    """
    with folder.lock(), interruptible(), heeding_requests(folder), logged(folder):
        session = Session.begun_here(takes_signals=takes_signals())
        folder.write_session(session)
        note(folder, "command", f"process {session.pid} on {session.host} begins: {session.command}")
        try:
            yield
        except BaseException as error:
            _end_session(folder, _Ending.of(error))
            raise
        _end_session(folder, _Ending("complete"))


@contextmanager
def closing_on_error(recorder: Recorder, on_end: Callable[[Status], None]) -> Iterator[None]:
    """Closes open runs as interrupted when the block is left by an error, before resources are released.

    Args:
        recorder: the recorder of the runs.
        on_end: called with the status of the study, such as by a tracker.

    Raises:
        InterruptedStudyError: in place of KeyboardInterrupt, with the exit status of what ended the command.
    """

    def close(ending: _Ending) -> str:
        with suppress(SuperCMError):  # such as a full disk, from which the first error comes as well
            recorder.interrupt(ending.with_remedy, preempted=ending.end == "preempted")
        _end_session(recorder.folder, ending)
        on_end("failed" if ending.end.startswith("failed") else "interrupted")
        return f"{recorder.study.name} was {ending.reason}{_what_stays(recorder.folder)}; {_RESUME}"

    try:
        with closed_by(lambda cause: close(_Ending.by(cause))):
            yield
    except BaseException as error:
        begin_closing()
        text = close(_Ending.of(error))
        if isinstance(error, KeyboardInterrupt):
            raise (came() or CALLER).error(text) from None
        raise


def _end_session(folder: StudyFolder, ending: _Ending) -> None:
    """Notes how a session ended, unless that is noted already."""
    with suppress(SuperCMError):  # of a disk that is full or away
        if folder.session_file.end(ending.end, ending.reason):
            said = ending.reason or ending.end
            note(folder, "command", f"ends: {said}" if said.startswith(ending.end) else f"ends {ending.end}: {said}")


def _what_stays(folder: StudyFolder) -> str:
    try:
        found = Counter(record.is_open for record in folder.runs())
    except SuperCMError:  # of a disk that is away
        return ""
    ended = f", {found[False]} run{'s' * (found[False] != 1)} ended and stay{'s' * (found[False] == 1)}"
    return ended + (f", {found[True]} to go on from the last checkpoint" if found[True] else "")
