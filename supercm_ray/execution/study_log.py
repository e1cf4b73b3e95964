"""Writes the log in a study's folder: phases and runs, and what the package warns of meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from supercm_ray.credentials import without_credentials
from supercm_ray.records import LogEntry, StudyFolder
from supercm_ray.records.study_log import NAME

_LARGEST = 1 << 20  # bytes of a file, of which there are two

_root = logging.getLogger("supercm_ray")
_open: dict[Path, _StudyLog] = {}


class _StudyLog(RotatingFileHandler):
    """Writes into the log of one study. What cannot be written is dropped, since no result depends on it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_LARGEST, backupCount=1, encoding="utf-8", delay=True, errors="replace")
        self.setLevel(logging.WARNING)

    def format(self, record: logging.LogRecord) -> str:
        kind = getattr(record, "kind", "error" if record.levelno >= logging.ERROR else "warning")
        return str(LogEntry(int(record.created * 1000), kind, without_credentials(super().format(record))))

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if logging.lastResort is not None and record.levelno >= logging.WARNING and not _is_handled_elsewhere(record):
            logging.lastResort.handle(record)  # as if there were no log

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (a name of logging)
        """No-op: a full disk is told where records are written."""


@contextmanager
def logged(folder: StudyFolder) -> Iterator[None]:
    """Writes the log of a study within the block."""
    path, log = folder.path.resolve(), _StudyLog(folder.path / NAME)
    _open[path] = log
    _root.addHandler(log)
    try:
        yield
    finally:
        _root.removeHandler(log)
        del _open[path]
        log.close()


def note(folder: StudyFolder, kind: str, text: str) -> None:
    """Writes an entry into the log of a study; no-op unless this process runs it.

    Args:
        folder: the study's folder.
        kind: `command`, `phase` or `run`.
        text: what it says.
    """
    log = _open.get(folder.path.resolve())
    if log is not None:
        log.handle(logging.makeLogRecord({"msg": text, "kind": kind, "levelno": logging.INFO}))


def _is_handled_elsewhere(record: logging.LogRecord) -> bool:
    """Returns whether a handler other than those of studies takes a message."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(not isinstance(handler, _StudyLog) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
