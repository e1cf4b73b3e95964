"""The errors of this package. Every message names the place, the rule, the value and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from supercm_ray.credentials import without_credentials

_NEAR = 0.7  # likeness of two names, from 0 to 1, from which one may stand for the other
_SHOWN = 10
_PARTS = re.compile(r"[./]")


class SuperCMError(Exception):
    """Base class of all errors that this package raises on purpose. Their messages can be shown anywhere: credentials
    are hidden, and parts of a file's name that are no text are replaced.
    """

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*(_shown(arg) if isinstance(arg, str) else arg for arg in args))


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
        is_lost: whether the infrastructure took the workers, such as a node that went away, or never gave them, which
            says nothing about the run.
    """

    def __init__(self, message: str, worker_traceback: str = "", is_lost: bool = False) -> None:
        super().__init__(message, worker_traceback, is_lost)
        self.worker_traceback, self.is_lost = str(self.args[1]), is_lost

    def __str__(self) -> str:
        return str(self.args[0])


class TrackingError(SuperCMError):
    """A tracker cannot be used; found before anything is started."""

    exit_code = 2


class ClusterError(SuperCMError):
    """The cluster cannot be used, or it is not clear which is meant; found before anything is started."""

    exit_code = 2


class InterruptedStudyError(SuperCMError):
    """A study was stopped from outside; the same command resumes it.

    Attributes:
        exit_code: 130 after Ctrl-C or `stop` of an executor, 143 after SIGTERM, 75 if it was pre-empted.
    """

    exit_code = 130

    def __init__(self, *args: object, exit_code: int | None = None) -> None:
        super().__init__(*args)
        if exit_code is not None:
            self.exit_code = exit_code


class PreemptedError(InterruptedStudyError):
    """What a study runs on was taken from it, such as its node or the cluster's head; the same command resumes it."""

    exit_code = 75


def _shown(text: str) -> str:
    return without_credentials(text).encode(errors="replace").decode()


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the remedy for an unknown name: the nearest known one, or some of those known in the same place."""
    names = sorted(set(known))
    above = [other for other in names if name.startswith(f"{other}.")]
    if above:
        return f"did you mean `{max(above, key=len)}`?"
    likeness, close = max(((_likeness(name, other), other) for other in names), default=(0.0, ""))
    if likeness >= _NEAR:
        return f"did you mean `{close}`?"
    here = _beside(name, names)
    listed = ", ".join(f"`{one}`" for one in here[:_SHOWN]) or "nothing"
    return f"known here: {listed}" + (f" and {len(here) - _SHOWN} more" if len(here) > _SHOWN else "")


def _likeness(name: str, other: str) -> float:
    """Returns how like two names are, from 0 to 1: that of their least like parts, counted from the last one. A part
    that begins the other is like it; parts at the front may be missing from `name`.
    """
    mine, theirs = _PARTS.split(name), _PARTS.split(other)
    if len(mine) > len(theirs):
        return 0.0
    return min(_likeness_of_parts(*pair) for pair in zip(reversed(mine), reversed(theirs), strict=False))


def _likeness_of_parts(part: str, other: str) -> float:
    if len(part) > 2 and other.startswith(part):
        return max(_NEAR, len(part) / len(other))
    matcher = difflib.SequenceMatcher(None, part, other)
    return matcher.ratio() if matcher.quick_ratio() >= _NEAR else 0.0


def _beside(name: str, names: list[str]) -> list[str]:
    """Returns the names below `name`, or below the first section around it that there is; without any the sections."""
    parent = name
    while parent:
        found = [other for other in names if other.startswith(f"{parent}.")]
        if found:
            return found
        parent = parent.rpartition(".")[0]
    return list(dict.fromkeys(other.partition(".")[0] for other in names)) if len(names) > _SHOWN else names
