"""Asks the process that runs a study to end, from any host that shares its folder, and waits until it has."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from supercm_ray.errors import StudyError, SuperCMError
from supercm_ray.records import Session, StudyFolder
from supercm_ray.records.session import process_identity
from supercm_ray.watching.driver import find_driver

Way = Literal["signal", "file"]

_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Cancelled:
    """How a study was ended.

    Attributes:
        name: the study's name.
        host: name of the host of the process that ran it.
        pid: its id there.
        by: whether it was asked by a signal or by a file in the study's folder.
        end: how it ended, as its session says; empty if it was killed meanwhile.
        reason: what it says of that.
        runs: number of runs by status, which stay.
        resume: the command that goes on.
    """

    name: str
    host: str
    pid: int
    by: Way
    end: str
    reason: str
    runs: Mapping[str, int]
    resume: str


def cancel_study(path: Path, *, timeout_s: float) -> Cancelled:
    """Ends the study in a folder as SIGTERM does: runs are closed, and the command that began it goes on with it.

    Args:
        path: the folder.
        timeout_s: seconds to wait for its end.

    Raises:
        StudyError: if no process runs the study.
        SuperCMError: if it has not ended by then.
    """
    folder = StudyFolder(path, "", "")
    session = folder.session()
    driver = None if session is None else find_driver(session, path)
    if session is None or driver is None or not driver.may_run:
        raise StudyError(f"a process must run the study in {path} for it to be cancelled, got {_said(session)}")
    by = _ask(session, folder)
    until = time.monotonic() + timeout_s
    while not _has_ended(folder):
        if time.monotonic() > until:
            raise SuperCMError(
                f"process {session.pid} on {session.host} must end within {timeout_s:g} s, got none of its end in "
                f"{path}; it was asked, and ends as soon as it can; see it with `supercm-ray status {path.name}`"
            )
        time.sleep(_INTERVAL_S)
    last = folder.session() or session
    runs = Counter(str(record.status) for record in folder.runs())
    return Cancelled(
        path.name, last.host, last.pid, by, last.end, last.reason, dict(sorted(runs.items())), last.command
    )


def _said(session: Session | None) -> str:
    if session is None:
        return "none that noted itself there"
    how = session.end or "it was killed, and its command goes on with it"
    return f"none: process {session.pid} on {session.host} has ended, {how}"


def _ask(session: Session, folder: StudyFolder) -> Way:
    """Asks a process to end: in the study's folder, and by a signal as well if it is here and takes it."""
    takes_signal = session.takes_signals and session.is_alive_here and bool(session.process)
    try:
        folder.cancel_file.ask()
    except SuperCMError:
        if not takes_signal:
            raise
    return "signal" if takes_signal and _signal(session) else "file"


def _signal(session: Session) -> bool:
    """Sends SIGTERM to a process of this host, and to no other that has its id by now."""
    with suppress(OSError):  # it is another user's, or has just ended
        descriptor = os.pidfd_open(session.pid)
        try:
            if process_identity(session.pid) == session.process:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                return True
        finally:
            os.close(descriptor)
    return False


def _has_ended(folder: StudyFolder) -> bool:
    """Returns whether the process has closed everything and let go of the study, or is gone."""
    session = folder.session()
    return session is None or find_driver(session, folder.path).state in ("ended", "killed")
