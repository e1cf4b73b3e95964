"""The lock of a study, which one process at a time holds, on one host or on several that share the folder.

The system keeps the lock (`lock`), and frees it however the process ends. Where a file system has no locks, a file that
only one process can create stands for it (`lock.held`). The holder shows that it lives by touching its file.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from supercm_ray.errors import StudyError
from supercm_ray.records.files import writing
from supercm_ray.records.session import host_name, is_gone_from_here, process_identity

logger = logging.getLogger(__name__)

BEAT_S = 2.0
"""Seconds between the signs of life of a lock's holder."""

_WATCHED_S = 3 * BEAT_S
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        host: name of its host, empty if it is not known.
        pid: its id there, empty if it is not known.
        process: its `process_identity`, where the file says it.
    """

    host: str = ""
    pid: str = ""
    process: str = ""

    @classmethod
    def here(cls) -> Holder:
        """Returns this process."""
        return cls(host_name(), str(os.getpid()), process_identity(os.getpid()))

    @classmethod
    def read(cls, text: str) -> Holder:
        """Returns the holder that a file of a lock names."""
        words = text.split()
        if len(words) == 1 and words[0].isdigit():  # of an earlier version
            return cls(pid=words[0])
        return cls(*words[:3]) if len(words) > 1 and words[1].isdigit() else cls()

    def __str__(self) -> str:
        """Returns words for it."""
        if not self.pid:
            return "another process"
        return f"process {self.pid}" + (f" on {self.host}" if self.host else "")

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a process of another host."""
        return bool(self.host) and self.host != host_name()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a study's folder for the duration of the block.

    Raises:
        StudyError: if another process holds it, or may hold it.
        StorageError: if its file cannot be written.
    """
    path, instead = folder / "lock", folder / "lock.held"
    with writing(path):
        file = path.open("a+", encoding="utf-8", errors="replace")
    with file:
        with writing(path):
            if _take(file, folder):
                _check_free(instead, folder)
                _check_silent(file, folder)
                _note_holder(file)
                held = path
            else:
                _check_silent(file, folder)
                _create(instead, folder)
                held = instead
        try:
            with _beating(held):
                yield
        finally:
            with suppress(OSError):  # of a disk that is gone
                file.truncate(0) if held is path else instead.unlink(missing_ok=True)


def sign_of_life_s(folder: Path, host: str, pid: int) -> float | None:
    """Returns how many seconds ago a process last showed that it holds a study's lock, by the clock of this host; None
    if it is not noted as its holder.
    """
    times = []
    for name in ("lock", "lock.held"):
        with suppress(OSError), (folder / name).open(encoding="utf-8", errors="replace") as file:  # which asks a server
            holder = _holder(file)
            if (holder.host, holder.pid) == (host, str(pid)):
                times.append(os.fstat(file.fileno()).st_mtime)
    return max(0.0, time.time() - max(times)) if times else None


def _take(file: TextIO, folder: Path) -> bool:
    """Takes the system's lock, and returns False if the file system has none.

    Raises:
        StudyError: if another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _held(_holder(file), folder) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _held(holder: Holder, folder: Path, more: str = "") -> StudyError:
    return StudyError(
        f"one process at a time may run the study in {folder}, got {holder} at work{more}; wait for it, or end it with "
        f"`supercm-ray cancel {folder}`"
    )


def _holder(file: TextIO) -> Holder:
    file.seek(0)
    return Holder.read(file.read(1000))


def _note_holder(file: TextIO) -> None:
    me = Holder.here()
    file.truncate(0)
    file.write(f"{me.host} {me.pid}")
    file.flush()


def _check_silent(file: TextIO, folder: Path) -> None:
    """Checks that the holder whom the file names has ended, where the system's lock does not tell: it is of another
    host, and a file system may be mounted so that locks hold on each host alone.

    Raises:
        StudyError: if it lives.
    """
    holder = _holder(file)
    if not holder.is_elsewhere:
        return
    logger.warning("%s held the study in %s; for %g s it is seen whether it lives", holder, folder, _WATCHED_S)
    path = Path(file.name)
    first = os.fstat(file.fileno()).st_mtime_ns
    until = time.monotonic() + _WATCHED_S
    while time.monotonic() < until:
        time.sleep(BEAT_S / 4)
        with path.open("rb") as again:  # opened anew, so that a network's file system asks
            if os.fstat(again.fileno()).st_mtime_ns != first:
                raise _held(holder, folder, ", though the file system gave its lock")


def _check_free(instead: Path, folder: Path) -> None:
    """Checks that no process holds the file that stands for a lock; removes that of one that has ended.

    Raises:
        StudyError: if one holds it, or may hold it.
    """
    with _alone_on_this_host():
        try:
            text = instead.read_text(encoding="utf-8", errors="replace")
            seen_s = max(0.0, time.time() - instead.stat().st_mtime)
        except FileNotFoundError:
            return
        holder = Holder.read(text)
        if holder.pid and is_gone_from_here(holder.host, holder.process, int(holder.pid)):
            instead.unlink(missing_ok=True)
            return
    raise StudyError(
        f"one process at a time may run the study in {folder}, whose file system has no locks, got {holder} as its "
        f"holder, last seen {seen_s:.0f} s ago; if that process has ended, remove {instead}, then give the same "
        "command again"
    )


def _create(instead: Path, folder: Path) -> None:
    """Creates the file that stands for a lock.

    Raises:
        StudyError: if another process holds it, or may hold it.
    """
    _check_free(instead, folder)
    me = Holder.here()
    try:
        with instead.open("x", encoding="utf-8") as file:
            file.write(f"{me.host} {me.pid} {me.process}")
    except FileExistsError:
        _check_free(instead, folder)
        raise _held(Holder(), folder) from None


@contextmanager
def _alone_on_this_host() -> Iterator[None]:
    """Lets one process of this host at a time remove what an ended one has left."""
    path = Path(tempfile.gettempdir()) / f"supercm-{os.getuid()}.lock"
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Touches a file from time to time for the duration of the block."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError):  # of a disk that is away for a time
                os.utime(path)

    thread = threading.Thread(target=beat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
