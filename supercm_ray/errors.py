"""What can go wrong, as types. Every message names the place, the rule, the value and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SuperCMError(Exception):
    """The root of all errors that this package raises on purpose."""

    exit_code = 1


class StudyError(SuperCMError):
    """A study file, an override or a data set that breaks a rule, found before anything is started."""

    exit_code = 2


class DivergedError(SuperCMError):
    """A loss that is no longer a number."""


class CheckpointError(SuperCMError):
    """A checkpoint that is truncated, foreign or of another configuration."""


class StorageError(SuperCMError):
    """A place of checkpoints that cannot be read from or written to just now; what lies there may be whole."""


class WorkersError(SuperCMError):
    """Workers of one run that failed again and again.

    Attributes:
        worker_traceback: what the worker, or Ray where the worker said nothing, had to say.
    """

    def __init__(self, message: str, worker_traceback: str = "") -> None:
        super().__init__(message, worker_traceback)
        self.worker_traceback = worker_traceback

    def __str__(self) -> str:
        return str(self.args[0])


class TrackingError(SuperCMError):
    """A tracker that cannot be used, found before anything is started."""

    exit_code = 2


class InterruptedStudyError(SuperCMError):
    """A study stopped from outside; the same command resumes it."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known here: " + (", ".join(f"`{n}`" for n in names) or "nothing")
