"""The errors of this package. Every message names the place, the rule, the value and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SuperCMError(Exception):
    """Base class of all errors that this package raises on purpose."""

    exit_code = 1


class StudyError(SuperCMError):
    """A study file, an override or a data set breaks a rule; found before anything is started."""

    exit_code = 2


class DivergedError(SuperCMError):
    """The loss of a run is no longer a finite number."""


class CheckpointError(SuperCMError):
    """A checkpoint is damaged, or belongs to another configuration."""


class StorageError(SuperCMError):
    """Results or checkpoints cannot be read or written at the moment, as on a full disk; they may be intact."""


class DamagedError(StudyError):
    """A file of results is not as it was written: shortened, altered, or garbled."""


class WorkersError(SuperCMError):
    """The workers of one run failed again and again.

    Attributes:
        worker_traceback: the traceback of the worker, or Ray's message if there is none.
    """

    def __init__(self, message: str, worker_traceback: str = "") -> None:
        super().__init__(message, worker_traceback)
        self.worker_traceback = worker_traceback

    def __str__(self) -> str:
        return str(self.args[0])


class TrackingError(SuperCMError):
    """A tracker cannot be used; found before anything is started."""

    exit_code = 2


class InterruptedStudyError(SuperCMError):
    """A study was stopped from outside; the same command resumes it."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the remedy for an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known here: " + (", ".join(f"`{n}`" for n in names) or "nothing")
